"""A stack of pre-norm Transformer blocks on one CPU thread, in C++ (trunk.cpp).

Of a small model's step on a CPU, torch's operators spend more than half the time between
the matrix products: softmax, GELU, norms, rotary embedding and casts, each a pass over memory. Here
one sequence passes through a block while its activations lie in the cache. The source is compiled
on first use, for one shape, so that every loop has constant bounds.
"""

import ctypes
import functools

import torch

from stepimp.kernels.fold import fold, unfold
from stepimp.kernels.native import MULTIPLE, compile_source, pointer, pointers


@functools.cache
def compiled_trunk(length: int, dim: int, heads: int):
    """The compiled source for one shape, or None: without a C++ compiler, without AVX512-BF16, or
    for a shape that is not a multiple of 32.
    """
    if any(size % MULTIPLE for size in (length, dim)) or dim % heads or dim // heads % MULTIPLE:
        return None
    loaded = compile_source("trunk.cpp", LENGTH=length, DIM=dim, HEADS=heads)
    if loaded is not None:
        loaded.saved_elements.restype = ctypes.c_long
    return loaded


class Buffers:
    """Large buffers that the next step takes over: memory fresh from the system is cleared page by
    page, which takes longer than to fill it.
    """

    def __init__(self):
        self.free: list[torch.Tensor] = []

    def take(self, elements: int) -> torch.Tensor:
        """A buffer of this many bf16 elements: a free one, else a new one."""
        self.free = [buffer for buffer in self.free if len(buffer) == elements]
        return self.free.pop() if self.free else torch.empty(elements, dtype=torch.bfloat16)


BUFFERS = Buffers()


KEEP, DROP = ctypes.c_bool(True), ctypes.c_bool(False)  # what the backward pass needs


class Trunk(torch.autograd.Function):
    """`trunk` as an autograd function, which takes tensors as separate arguments: matrices last."""

    @staticmethod
    def forward(ctx, x, cos, sin, heads, up_bias, down_bias, *tensors):
        (batch, length, dim), blocks = x.shape, len(up_bias)
        ctx.compiled, ctx.sizes = compiled_trunk(length, dim, heads), (batch, blocks)
        ctx.heads = heads
        up_bias, down_bias = (bias.float().contiguous() for bias in (up_bias, down_bias))
        parts = [part.float().contiguous() for part in tensors]
        modulation, matrices = parts[:6], by_kind(parts[6:])
        saved = batch * blocks * ctx.compiled.saved_elements()
        ctx.buffer = BUFFERS.take(saved + sum(matrix.numel() for matrix in parts[6:]))
        ctx.weights = fold(
            ctx.compiled, matrices, up_bias, down_bias, modulation, heads, ctx.buffer[saved:]
        )
        ctx.weights += [part.float().contiguous() for part in (cos, sin)]
        y = torch.empty(x.shape).copy_(x)
        ctx.compiled.trunk_forward(
            *ctx.sizes, pointers(ctx.weights), pointer(y), pointer(ctx.buffer), KEEP
        )
        ctx.save_for_backward(down_bias, *parts)
        return y

    @staticmethod
    def backward(ctx, dy):
        buffer, ctx.buffer = ctx.buffer, None  # one backward pass only
        down_bias, *parts = ctx.saved_tensors
        modulation, matrices = parts[:6], by_kind(parts[6:])
        dx = torch.empty(dy.shape).copy_(dy)
        gradients = [torch.empty(weight.shape) for weight in ctx.weights[:4]]
        dbiases = [torch.zeros(bias.shape) for bias in ctx.weights[4:7]]
        ctx.compiled.trunk_backward(
            *ctx.sizes,
            *map(pointers, (ctx.weights, gradients + dbiases)),
            *map(pointer, (dx, buffer)),
        )
        BUFFERS.free.append(buffer)
        dvectors = unfold(
            ctx.compiled, matrices, down_bias, modulation, ctx.heads, gradients, dbiases
        )
        dmatrices = (part for kind in gradients for part in kind.unbind())
        return dx, None, None, None, *dvectors, *dmatrices


def by_kind(matrices) -> list:
    """The matrices of qkv, of out, of up and of down, from one list of all in this order."""
    blocks = len(matrices) // 4
    return [matrices[n : n + blocks] for n in range(0, len(matrices), blocks)]


def trunk(x, matrices, up_bias, down_bias, modulation, cos, sin, heads: int):
    """`kernels.reference.trunk` with bf16 products, fp32 sums and gradients.

    x: [B, L, D]; matrices: for qkv, out, up and down a list with the [out, in] of each of N blocks;
    biases: [N, 4 D] and [N, D]; modulation: shift, gain and gate of the attention, then of the MLP,
    each [N, D]; cos, sin: [L, d / 2] of the rotary angles. Returns [B, L, D] in fp32.
    `compiled_trunk(L, D, heads)` must not be None.
    """
    kinds = (matrix for kind in matrices for matrix in kind)
    return Trunk.apply(x, cos, sin, heads, up_bias, down_bias, *modulation, *kinds)


class FrozenTrunk:
    """A trunk for inference, with weights that stay as they are: 3 to 4 times as fast as torch's
    operators in fp32 at width 64.

    The modulation is part of the weights. Of N blocks the matrices, [N, out, in], and biases, [N,
    out], the query rows of qkv with the scores' scale, log2(e) / sqrt(d); cos, sin: at least as
    long as any x. Where `fits` says so, called with x [B, L, D]; returns [B, L, D] in fp32, each
    sequence the same in every batch.
    """

    def __init__(self, qkv, out, up, down, qkv_bias, up_bias, down_bias, cos, sin, heads: int):
        self.blocks, self.dim, self.heads = len(qkv), out.shape[-1], heads
        self.weights = [part.bfloat16().contiguous() for part in (qkv, out, up, down)]
        self.weights += [
            part.float().contiguous() for part in (qkv_bias, up_bias, down_bias, cos, sin)
        ]

    def fits(self, length: int) -> bool:
        """Whether there is a library for sequences of this length."""
        return compiled_trunk(length, self.dim, self.heads) is not None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        compiled = compiled_trunk(x.shape[1], self.dim, self.heads)
        y = torch.empty(x.shape).copy_(x)
        scratch = torch.empty(compiled.saved_elements(), dtype=torch.bfloat16)
        compiled.trunk_forward(
            len(x), self.blocks, pointers(self.weights), pointer(y), pointer(scratch), DROP
        )
        return y
