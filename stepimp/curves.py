"""Step-importance curves: cross-entropy and KL of several models on the same corrupted inputs (formulas 4 to 6).

Every model's body runs once per input, one pass over the vocabulary at the masked rows gives all statistics, and per
sequence and time only sums are kept. All bands are percentile bootstraps over sequences that resample all times and
models together.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stepimp import randomness
from stepimp.errors import StepimpError
from stepimp.kernels import vocabulary_statistics
from stepimp.noise import NoiseSchedule, corrupt

RESAMPLES = 1000


@dataclass(frozen=True)
class Measurements:
    """Sums over the masked positions of each input, in nats. Arrays are [times, sequences, repeats].

    ce: for every model; kl: KL(heavy || model) for every model but the heavy one; entropy: of the heavy model.
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

    @property
    def sequences(self) -> int:
        return self.masked.shape[1]

    def per_sequence(self, sums: np.ndarray) -> np.ndarray:
        """Mean over masked positions, then over repeats: [times, sequences], NaN where nothing was masked."""
        means = np.divide(sums, self.masked, out=np.full(sums.shape, np.nan), where=self.masked > 0)
        counted = np.isfinite(means)
        return np.divide(np.nansum(means, -1), counted.sum(-1), out=np.full(sums.shape[:2], np.nan), where=counted.any(-1))

    def per_token(self, sums: np.ndarray) -> np.ndarray:
        """Sum over masked positions / (L t), the token-weighted mean of formulas (9) and (10): [times, sequences]."""
        return sums.mean(-1) / (self.length * self.times[:, None])

    def loss_difference(self, model: str, absolute: bool) -> np.ndarray:
        """Formula (5) per sequence: CE_L - CE_H or its absolute value: [times, sequences]."""
        difference = self.ce[model] - self.ce[self.heavy]
        return self.per_sequence(np.abs(difference) if absolute else difference)

    def relative_kl(self, model: str) -> np.ndarray:
        """Sums of KL(heavy || model) minus those of the baseline, or of the raw KL where there is no baseline."""
        return self.kl[model] - (self.kl[self.baseline] if self.baseline else 0)

    def pack(self) -> dict:
        """For the results document."""
        fields = {name: getattr(self, name) for name in ("heavy", "lights", "baseline", "length")}
        arrays = {name: getattr(self, name).tolist() for name in ("times", "masked", "entropy")}
        return fields | arrays | {kind: {m: a.tolist() for m, a in getattr(self, kind).items()} for kind in ("ce", "kl")}

    @classmethod
    def unpack(cls, document: dict) -> "Measurements":
        """From a results document of `loss` or `kl`."""
        try:
            packed = dict(document["measurements"])
            for name in ("times", "masked", "entropy"):
                packed[name] = np.asarray(packed[name], dtype=float)
            for kind in ("ce", "kl"):
                packed[kind] = {model: np.asarray(sums, dtype=float) for model, sums in packed[kind].items()}
            return cls(**{**packed, "lights": tuple(packed["lights"])})
        except (KeyError, TypeError, ValueError):
            raise StepimpError(f"{document.get('path')} holds no curves: give a results file of stepimp kl or loss.") from None


def time_grid(points: int) -> np.ndarray:
    """[points] equally spaced times up to 1, the first at 1/points."""
    return np.arange(1, points + 1) / points


@torch.no_grad()
def measure_chunk(denoisers: dict, tokens, uniforms, times, noise: NoiseSchedule) -> dict:
    """All statistics of one chunk of inputs. The first denoiser is the heavy one.

    tokens: [B, L]; uniforms: [B, L]; returns {"masked": [times, B], "ce"/"kl": {name: [times, B]}, "entropy": ...}
    with sums over the masked positions.
    """
    models = list(denoisers.values())
    heads = [model.head() for model in models]
    device = heads[0][0].device
    tokens, uniforms = tokens.to(device), uniforms.to(device)
    sums = {"masked": [], "ce": [], "kl": [], "entropy": []}
    for t in times:
        z = corrupt(tokens, uniforms, float(t), models[0].mask_id, noise)
        masked = z == models[0].mask_id
        clock = torch.full((len(z),), float(t), device=device)
        rows = [model.hidden(z, clock)[masked] for model in models]
        ce, kl, entropy = vocabulary_statistics(rows, heads, tokens[masked], models[0].mask_id)
        sequence = masked.nonzero()[:, 0]
        add = lambda values: values.new_zeros(*values.shape[:-1], len(z)).index_add_(-1, sequence, values).cpu().numpy()  # noqa: E731
        sums["masked"].append(masked.sum(1).cpu().numpy())
        for name, values in (("ce", ce), ("kl", kl), ("entropy", entropy)):
            sums[name].append(add(values))
    by_model = {kind: dict(zip(denoisers, np.stack(sums[kind], 1))) for kind in ("ce", "kl")}
    return {"masked": np.stack(sums["masked"]), "entropy": np.stack(sums["entropy"]), **by_model}


def measure(denoisers, heavy, lights, baseline, tokens, times, seed, *, uniforms=None, noise=None, repeats=1,
            batch_size=32, journal=None, until=None, progress=lambda done, total: None) -> Measurements:  # fmt: skip
    """Runs every model on the same corrupted inputs.

    denoisers: {name: Denoiser}; tokens: [N, L] clean text; times: t values in (0, 1]. uniforms: [N, L] to corrupt with,
    else drawn from the seed, one set per repeat. journal: finished chunks of sequences are kept there and not run
    again. until: stop as soon as the widest 95% band of the relative KL is at most so many nats, else run all N.
    """
    if baseline and denoisers[baseline].fingerprint == denoisers[heavy].fingerprint:
        raise StepimpError(
            f"Baseline {baseline} holds the same weights as {heavy}: it must be the heavy model trained from another seed."
        )
    order = {name: denoisers[name] for name in dict.fromkeys([heavy, *lights, *([baseline] if baseline else [])])}
    noise = noise or denoisers[heavy].noise
    parts, done = [], {} if journal is None else journal.done
    for start in range(0, len(tokens), batch_size):
        stop = min(start + batch_size, len(tokens))
        chunk = []
        for repeat in range(repeats):
            unit = f"{start}:{stop}:{repeat}"
            if unit not in done:
                if uniforms is None:
                    u = np.stack([randomness.generator(seed, randomness.CORRUPTION, i, repeat).random(tokens.shape[1])
                                  for i in range(start, stop)])  # fmt: skip
                else:
                    u = uniforms[start:stop]
                result = rounded(measure_chunk(order, tokens[start:stop], torch.as_tensor(u), times, noise))
                if journal is None:
                    done[unit] = result
                else:
                    journal.add(unit, result)
            chunk.append(done[unit])
        parts.append(chunk)
        progress(stop, len(tokens))
        if until is not None and stop >= 2 * batch_size:
            found = assemble(parts, heavy, lights, baseline, tokens.shape[1], times)
            if widest_band(found, seed) <= until:
                break
    return assemble(parts, heavy, lights, baseline, tokens.shape[1], times)


def rounded(value):
    """Nested lists with 8 significant digits, more than fp32 logits carry."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [rounded(one) for one in value]
    return float(f"{float(value):.8g}")


def assemble(parts, heavy, lights, baseline, length, times) -> Measurements:
    """Joins chunks (lists over repeats of what `measure_chunk` returned) along the sequences."""

    def join(get):
        return np.concatenate([np.stack([np.asarray(get(one)) for one in chunk], -1) for chunk in parts], axis=1)

    names = list(parts[0][0]["ce"])
    return Measurements(
        heavy, tuple(lights), baseline, length, np.asarray(times, dtype=float), join(lambda c: c["masked"]),
        {name: join(lambda c: c["ce"][name]) for name in names},
        {name: join(lambda c: c["kl"][name]) for name in names if name != heavy},
        join(lambda c: c["entropy"]),
    )  # fmt: skip


def bootstrap(values: np.ndarray, seed: int, resamples: int = RESAMPLES):
    """Means over sequences with 95% percentile bands.

    values: [S, N], NaN where a sequence counts for nothing. Returns (mean [S], low [S], high [S], distribution [S, R]).
    """
    from scipy import stats

    valid = np.isfinite(values)
    filled = np.where(valid, values, 0.0)
    sequences = values.shape[1]

    def means(index, axis=-1):
        # How often each sequence was drawn: one matrix product then serves every statistic.
        offsets = np.arange(index.size // sequences)[:, None] * sequences
        draws = np.bincount((index.reshape(-1, sequences) + offsets).ravel(), minlength=index.size)
        draws = draws.reshape(-1, sequences).T.astype(float)
        counted = valid @ draws
        return np.divide(filled @ draws, counted, out=np.full(counted.shape, np.nan), where=counted > 0).reshape(
            len(values), *index.shape[:-1]
        )

    point = means(np.arange(sequences))
    if sequences < 2:
        return point, np.full_like(point, np.nan), np.full_like(point, np.nan), point[:, None]
    found = stats.bootstrap(
        (np.arange(sequences),), means, n_resamples=resamples, vectorized=True, method="percentile",
        rng=randomness.generator(seed, randomness.BOOTSTRAP),
    )  # fmt: skip
    return point, found.confidence_interval.low, found.confidence_interval.high, found.bootstrap_distribution


def widest_band(found: Measurements, seed: int) -> float:
    """Half the width, in nats, of the widest 95% band of the relative KL over times and light models."""
    values = np.concatenate([found.per_sequence(found.relative_kl(model)) for model in found.lights])
    _, low, high, _ = bootstrap(values, seed)
    return float(np.nanmax(high - low) / 2)


def with_bands(found: Measurements, columns: dict, seed: int) -> list[dict]:
    """One row per model and time. columns: name -> function of a model giving [times, sequences]."""
    keys = [(model, name) for model in found.lights for name in columns]
    point, low, high, _ = bootstrap(np.concatenate([columns[name](model) for model, name in keys]), seed)
    shape = (len(found.lights), len(columns), len(found.times))
    table = [np.reshape(one, shape) for one in (point, low, high)]
    counted = (found.masked > 0).any(-1).sum(-1)
    rows = []
    for m, model in enumerate(found.lights):
        for i, t in enumerate(found.times):
            row = {"t": float(t), "model": model}
            for c, name in enumerate(columns):
                row |= {name + end: float(one[m, c, i]) for end, one in zip(("", "_low", "_high"), table)}
            rows.append(row | {"sequences": int(counted[i])})
    return rows


def loss_rows(found: Measurements, seed: int) -> list[dict]:
    """The rows of `stepimp loss`: formula (5), absolute and signed, and both cross-entropies."""
    columns = {
        "loss_abs_diff_nats": lambda model: found.loss_difference(model, absolute=True),
        "loss_diff_nats": lambda model: found.loss_difference(model, absolute=False),
        "ce_nats": lambda model: found.per_sequence(found.ce[model]),
        "ce_heavy_nats": lambda model: found.per_sequence(found.ce[found.heavy]),
    }
    return with_bands(found, columns, seed)


def kl_rows(found: Measurements, seed: int) -> list[dict]:
    """The rows of `stepimp kl`: formula (6), raw, baseline and relative. Without a baseline the last two are null."""
    columns = {"kl_nats": lambda model: found.per_sequence(found.kl[model])}
    if found.baseline:
        columns["baseline_kl_nats"] = lambda model: found.per_sequence(found.kl[found.baseline])
        columns["relative_kl_nats"] = lambda model: found.per_sequence(found.relative_kl(model))
    return with_bands(found, columns, seed)
