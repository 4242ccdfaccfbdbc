"""What a measurement of curves keeps: sums per time and sequence, and the averages of them."""

from dataclasses import dataclass

import numpy as np

from stepimp.errors import StepimpError

ARRAYS = ("times", "masked", "entropy")
BY_MODEL = ("ce", "kl")


@dataclass(frozen=True)
class Measurements:
    """Sums over the masked positions of each input, in nats. Arrays are [times, sequences,
    repeats].

    masked: how many positions; ce: for every model; kl: KL(heavy || model) for every model but the
    heavy one; entropy: of the heavy model. maskable: None for curves over t; for those over n, the
    number of positions P that can be masked, of which exactly n = P times[i] are.
    """

    heavy: str
    lights: tuple[str, ...]
    baseline: str | None
    length: int
    times: np.ndarray
    masked: np.ndarray
    ce: dict[str, np.ndarray]
    kl: dict[str, np.ndarray]
    entropy: np.ndarray
    maskable: int | None = None

    @property
    def counts(self) -> np.ndarray | None:
        """[times] the number of masked positions n of curves over n, None for those over t."""
        return None if self.maskable is None else np.rint(self.times * self.maskable).astype(int)

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self.masked.shape[1]

    def per_sequence(self, sums: np.ndarray) -> np.ndarray:
        """Mean over masked positions, then over repeats, as formulas (4) to (6): [times,
        sequences].

        A repeat without a masked position is left out, and a sequence with no other is NaN.
        """
        means = np.divide(sums, self.masked, out=np.zeros(sums.shape), where=self.masked > 0)
        repeats = (self.masked > 0).sum(-1)
        return np.divide(
            means.sum(-1), repeats, out=np.full(repeats.shape, np.nan), where=repeats > 0
        )

    @property
    def tokens(self) -> np.ndarray:
        """Masked positions in all repeats, the weights of `per_token`: [times, sequences]."""
        return self.masked.sum(-1)

    def per_token(self, sums: np.ndarray) -> np.ndarray:
        """Mean over the masked positions of all repeats: [times, sequences], NaN where there are
        none.

        Weighted by `tokens`, its mean over sequences is the token-weighted one of formulas (9) and
        (10), E[sum over M] / (L t), with the number of masked tokens in place of its expectation
        L t, so that its noise cancels.
        """
        return np.divide(
            sums.sum(-1), self.tokens, out=np.full(self.tokens.shape, np.nan), where=self.tokens > 0
        )

    def loss_difference(self, model: str, absolute: bool) -> np.ndarray:
        """Formula (5) per sequence, CE_L - CE_H of the same input or its absolute value: [times,
        sequences].
        """
        difference = self.ce[model] - self.ce[self.heavy]  # of sums: |sum| / |M| is |CE_L - CE_H|
        return self.per_sequence(np.abs(difference) if absolute else difference)

    def relative_kl(self, model: str) -> np.ndarray:
        """Sums of KL(heavy || model) minus those of the baseline, or of the raw KL where there is
        no baseline.
        """
        return self.kl[model] - (self.kl[self.baseline] if self.baseline else 0)

    def needed(self) -> list[tuple[str, str]]:
        """The sums that there must be: (kind, model)."""
        others = [*self.lights, *filter(None, [self.baseline])]
        return [("ce", model) for model in (self.heavy, *others)] + [("kl", m) for m in others]

    def pack(self) -> dict:
        """The measurements as a results document has them under "measurements"."""
        fields = {name: getattr(self, name) for name in ("heavy", "lights", "baseline", "length")}
        if self.maskable is not None:
            fields["maskable"] = self.maskable
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        return (
            fields
            | arrays
            | {
                kind: {m: sums.tolist() for m, sums in getattr(self, kind).items()}
                for kind in BY_MODEL
            }
        )

    @classmethod
    def unpack(cls, document: dict) -> "Measurements":
        """From a curves document, or one of `loss` or `kl`. Raises StepimpError for any other."""
        if "measurements" not in document and document.get("command") == "curves":
            raise StepimpError(
                f"{document.get('path')} has the curves' rows without the measurements they were "
                "made of: measure them again with stepimp kl or loss."
            )
        try:
            packed = dict(document["measurements"])
            for name in ARRAYS:
                packed[name] = np.asarray(packed[name], dtype=float)
            for kind in BY_MODEL:
                packed[kind] = {
                    model: np.asarray(sums, dtype=float) for model, sums in packed[kind].items()
                }
            measurements = cls(**{**packed, "lights": tuple(packed["lights"])})
        except (KeyError, TypeError, ValueError) as error:
            raise StepimpError(
                f"{document.get('path')} holds no curves: give a results file of stepimp kl or "
                "loss."
            ) from error
        sums = [measurements.entropy, *measurements.ce.values(), *measurements.kl.values()]
        measured = {"ce": measurements.ce, "kl": measurements.kl}
        for kind, model in measurements.needed():
            if model not in measured[kind]:
                raise StepimpError(
                    f"{document.get('path')} is damaged: it lacks measurements.{kind}.{model}. "
                    "Move it away and run the command again."
                )
        shape = measurements.masked.shape
        if len(shape) != 3 or any(
            array.shape != shape or len(array) != len(measurements.times) for array in sums
        ):
            raise StepimpError(
                f"{document.get('path')} is damaged: its measurements have arrays of different "
                "shapes. Move it away and run the command again."
            )
        return measurements
