"""A processor whose kernels add up in a different order for every shape (`pytest --hostile SEED`).

A test that passes here depends on no processor's order of summation. Every floating-point product
and reduction gets a relative error of a few units in the last place that depends on the shape of
the result and on the position in it. The same operation on the same batch gives the same bits
again, as on any processor.
"""

import functools

import torch
from torch.overrides import TorchFunctionMode

PRODUCTS = "linear matmul __matmul__ mm bmm addmm baddbmm einsum _linear_pointwise"
ATTENTION = "scaled_dot_product_attention"
REDUCTIONS = "sum mean norm softmax log_softmax logsumexp layer_norm cross_entropy"
INEXACT = {*PRODUCTS.split(), *ATTENTION.split(), *REDUCTIONS.split()}
UNITS = 4  # in the last place


@functools.lru_cache(maxsize=512)
def errors(shape: torch.Size, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Factors near one. Half-precision sums accumulate in fp32, so that their errors are fp32's."""
    wide = torch.promote_types(dtype, torch.float32)
    generator = torch.Generator().manual_seed(hash((seed, *shape)))
    draw = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (1 + UNITS * torch.finfo(wide).eps * (2 * draw - 1)).to(wide)


class HostileProcessor(TorchFunctionMode):
    """While it is active, `INEXACT` functions of torch on the CPU return perturbed results."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def __torch_function__(self, function, types, arguments=(), options=None):
        out = function(*arguments, **(options or {}))
        if torch.compiler.is_compiling() or getattr(function, "__name__", "") not in INEXACT:
            return out
        if not isinstance(out, torch.Tensor) or not out.is_floating_point() or out.is_cuda:
            return out
        factors = errors(out.shape, out.dtype, self.seed)
        if (options or {}).get("out") is not None:
            return out.mul_(factors)
        return (out * factors).to(out.dtype)
