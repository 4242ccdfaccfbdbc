"""Which implementation of a kernel runs."""

import importlib.util
from numbers import Integral

import torch

from stepimp.errors import StepimpError

IMPLEMENTATIONS = ("reference", "torch", "triton")


def choose(impl: str, x: torch.Tensor, implementations: tuple[str, ...] = IMPLEMENTATIONS) -> str:
    """The implementation to use for tensor x: `impl`, or for `auto` triton if there is one, it is
    installed and x is on a CUDA device, else torch.

    implementations: those that the kernel has. Raises StepimpError for another one, and for Triton
    if it is missing or cannot run.
    """
    if impl == "auto":
        runs_triton = installed() and x.is_cuda and x.dtype != torch.float64
        return "triton" if runs_triton and "triton" in implementations else "torch"
    if impl not in implementations:
        raise StepimpError(
            f"Unknown implementation {impl!r}: use auto, {', '.join(implementations[:-1])} or "
            f"{implementations[-1]}."
        )
    if impl == "triton" and not installed():
        raise StepimpError(
            "impl='triton': Triton is not installed. pip install triton, or use impl='torch'."
        )
    if impl == "triton" and x.dtype == torch.float64:
        raise StepimpError(
            "impl='triton' computes logits in fp32, and these rows are float64: use impl='torch'."
        )
    if impl == "triton" and not x.is_cuda and not interpreted():
        raise StepimpError(
            f"impl='triton' needs a CUDA device, and the rows are on {x.device}: use impl='torch', "
            "or set TRITON_INTERPRET=1 before Python starts."
        )
    return impl


def installed() -> bool:
    """Whether Triton is installed, which torch.compile needs on a GPU as well."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on any device."""
    import triton

    return triton.knobs.runtime.interpret


def check_projection(x: torch.Tensor, head, mask_id: int):
    """Raises ValueError unless x [n, D] fits weight [V, D] and bias [V], with 0 <= mask_id < V, and
    all are floating-point tensors on one device.
    """
    if not isinstance(head, tuple | list) or len(head) != 2:
        raise ValueError(
            f"a head is a pair of weight and bias, such as a model's head(), not a "
            f"{type(head).__name__}"
        )
    weight, bias = head
    for part in (x, weight, bias):
        if not isinstance(part, torch.Tensor) or not part.is_floating_point():
            kind = part.dtype if isinstance(part, torch.Tensor) else type(part).__name__
            raise ValueError(f"rows, weight and bias are floating-point tensors, not {kind}")
        if part.device != x.device:
            raise ValueError(f"rows are on {x.device}, the weight or bias on {part.device}")
    if (
        x.ndim != 2
        or weight.shape[1:] != x.shape[1:]
        or bias.shape != weight.shape[:1]
        or not isinstance(mask_id, Integral)
        or not 0 <= mask_id < len(bias)
    ):
        raise ValueError(
            f"rows {tuple(x.shape)}, weight {tuple(weight.shape)}, bias {tuple(bias.shape)} and "
            f"mask token {mask_id} do not fit each other"
        )
