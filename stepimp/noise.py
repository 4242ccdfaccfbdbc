"""The noise schedule alpha_t and the corruption it defines (formulas 1 and 2 of the paper).

t = 1 is fully masked, the start of sampling; t = 0 is clean. The functions of t take floats, NumPy
arrays or tensors.
"""

from dataclasses import dataclass
from numbers import Integral, Real

from stepimp.errors import StepimpError

NEVER_MASKED = 1.0  # in place of a uniform: 1 - alpha_t never exceeds it
EPS = {"linear": 0.0, "loglinear": 1e-3}


@dataclass(frozen=True)
class NoiseSchedule:
    """alpha_t = 1 - (1 - eps) t, the probability that a token is still clean at time t.

    `linear` has eps = 0. `loglinear` is MDLM's: its total noise sigma(t) = -log alpha_t stays
    finite at t = 1. For a noise schedule of your own write a class with the methods of this one;
    samplers unmask a position at a uniform time, as these two do.
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

    x: [B, L] token ids; uniforms: [B, L] in [0, 1), such as torch.rand gives; t: a number from 0 to
    1, or a tensor of them that has one for each sequence, [B, 1]; noise: a `NoiseSchedule`, such as
    a model's `noise`, or anything else with its `masked`. One uniform per position serves every t
    and every model, so the masked set only grows with t, and differences between models or
    timesteps are paired. Where the uniform is `NEVER_MASKED` the token is clean at every t. Raises
    ValueError for arguments that do not fit; only on a CUDA device times out of range go unnoticed.
    """
    check_corruption(x, uniforms, t, mask_id, noise)
    return x.masked_fill(uniforms < noise.masked(t), mask_id)


def check_corruption(x, uniforms, t, mask_id, noise):
    """Raises ValueError unless these are what `corrupt` takes."""
    import torch

    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"x is a tensor of int64 token ids, not {kind_of(x)}")
    if not isinstance(uniforms, torch.Tensor) or not uniforms.is_floating_point():
        raise ValueError(f"uniforms are a floating-point tensor, not {kind_of(uniforms)}")
    if uniforms.shape != x.shape or uniforms.device != x.device:
        raise ValueError(
            f"x {list(x.shape)} on {x.device} and uniforms {list(uniforms.shape)} on "
            f"{uniforms.device}: give one uniform for each token, on the same device"
        )
    if isinstance(t, torch.Tensor):
        if t.ndim and t.shape != (*x.shape[:-1], 1):
            raise ValueError(f"t has the shape {list(t.shape)}, not {[*x.shape[:-1], 1]}")
        outside = t.device.type == "cpu" and not ((t >= 0) & (t <= 1)).all()
    elif not isinstance(t, Real):
        raise ValueError(f"t is a number or a tensor, not {kind_of(t)}")
    else:
        outside = not 0 <= float(t) <= 1
    if outside:
        raise ValueError(f"t is from 0 to 1, not {t}")
    if not isinstance(mask_id, Integral):
        raise ValueError(f"mask_id is the id of the mask token, not {mask_id!r}")
    if not hasattr(noise, "masked"):
        raise ValueError(f"noise is {noise!r}: give a NoiseSchedule, such as a model's `noise`")


def kind_of(value) -> str:
    """The dtype of a tensor, the type of anything else."""
    name = type(value).__name__
    return str(value.dtype).removeprefix("torch.") if name == "Tensor" else name
