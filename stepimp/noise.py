"""The noise schedule alpha_t and the corruption it defines (formulas 1 and 2 of the paper).

t = 1 is fully masked, the start of sampling; t = 0 is clean. Everything here takes floats, NumPy
arrays or tensors.
"""

from dataclasses import dataclass

from stepimp.errors import StepimpError

NEVER_MASKED = 1.0  # in place of a uniform: 1 - alpha_t never exceeds it
EPS = {"linear": 0.0, "loglinear": 1e-3}


@dataclass(frozen=True)
class NoiseSchedule:
    """alpha_t = 1 - (1 - eps) t, the probability that a token is still clean at time t.

    `linear` has eps = 0. `loglinear` is MDLM's: its total noise sigma(t) = -log alpha_t stays
    finite at t = 1.
    """

    name: str = "linear"

    def __post_init__(self):
        if self.name not in EPS:
            raise StepimpError(
                f"Unknown noise schedule {self.name!r}: choose one of {', '.join(EPS)}."
            )

    @property
    def eps(self) -> float:
        """alpha_1, the probability that a token is still clean at t = 1."""
        return EPS[self.name]

    def alpha(self, t):
        """Probability that a token is clean at time t in [0, 1]."""
        return 1 - (1 - self.eps) * t

    def alpha_derivative(self, t):
        """d alpha_t / dt, constant for both schedules, in the shape of t."""
        return -(1 - self.eps) + 0 * t

    def masked(self, t):
        """Probability 1 - alpha_t that a token is masked at time t."""
        return (1 - self.eps) * t

    def nelbo_weight(self, t):
        """-alpha'_t / (1 - alpha_t), the weight of the cross-entropy in the NELBO; 1/t for both
        schedules.
        """
        return -self.alpha_derivative(t) / self.masked(t)


def corrupt(x, uniforms, t, mask_id: int, noise: NoiseSchedule):
    """Formula (1): z_t, x with the mask token where the position's uniform is below 1 - alpha_t.

    x, uniforms: [B, L]; t: a float or [B, 1]. One uniform per position serves every t and every
    model, so the masked set only grows with t, and differences between models or timesteps are
    paired. Where the uniform is `NEVER_MASKED` the token is clean at every t.
    """
    return x.masked_fill(uniforms < noise.masked(t), mask_id)
