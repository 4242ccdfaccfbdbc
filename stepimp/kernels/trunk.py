"""A stack of pre-norm Transformer blocks on one CPU thread, in C++ (trunk.cpp).

Of a small model's step on a CPU, torch's operators spend more than half the time between
the matrix products: softmax, GELU, norms, rotary embedding and casts, each a pass over memory. Here
one sequence passes through a block while its activations lie in the cache. The source is compiled
on first use, for one shape, so that every loop has constant bounds.
"""

import ctypes
import functools
import math

import torch

from stepimp.kernels.native import MULTIPLE, library, pointer, pointers


@functools.cache
def compiled_trunk(length: int, dim: int, heads: int):
    """The compiled source for one shape, or None: without a C++ compiler, without AVX512-BF16, or
    for a shape that is not a multiple of 32.
    """
    if any(size % MULTIPLE for size in (length, dim)) or dim % heads or dim // heads % MULTIPLE:
        return None
    loaded = library("trunk.cpp", LENGTH=length, DIM=dim, HEADS=heads)
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
        self.free = [buffer for buffer in self.free if len(buffer) == elements]
        return self.free.pop() if self.free else torch.empty(elements, dtype=torch.bfloat16)


BUFFERS = Buffers()


KEEP, DROP = ctypes.c_bool(True), ctypes.c_bool(False)  # what the backward pass needs


class Trunk(torch.autograd.Function):
    """Of `trunk`, the arguments in one row and the matrices last."""

    @staticmethod
    def forward(ctx, x, cos, sin, heads, up_bias, down_bias, *tensors):
        modulation, matrices = tensors[:6], by_kind([part.float() for part in tensors[6:]])
        (batch, length, dim), blocks = x.shape, len(matrices[0])
        ctx.compiled, ctx.sizes = compiled_trunk(length, dim, heads), (batch, blocks)
        ctx.foldings = foldings(*(part.float().contiguous() for part in modulation), heads)
        gate2 = ctx.foldings[3][0]
        biases = [
            torch.zeros(blocks, 3 * dim),
            torch.zeros(blocks, dim),  # stays so
            torch.empty(up_bias.shape).copy_(up_bias),
            down_bias.float() * gate2,
        ]
        weights = [torch.empty(blocks, *kind[0].shape, dtype=torch.bfloat16) for kind in matrices]
        for kind, folding, weight, bias in zip(matrices, ctx.foldings, weights, biases):
            ctx.compiled.fold(
                *weight.shape, pointers(kind), pointers(folding), pointer(weight), pointer(bias)
            )
        weights += [*biases[:1], *biases[2:], cos.float().contiguous(), sin.float().contiguous()]
        y = torch.empty(x.shape).copy_(x)
        ctx.saved = BUFFERS.take(blocks * batch * ctx.compiled.saved_elements())
        ctx.compiled.trunk_forward(
            *ctx.sizes, pointers(weights), pointer(y), pointer(ctx.saved), KEEP
        )
        ctx.weights = weights
        ctx.save_for_backward(down_bias, *tensors[6:])
        return y

    @staticmethod
    def backward(ctx, dy):
        saved, ctx.saved = ctx.saved, None  # one backward pass only
        down_bias, *matrices = ctx.saved_tensors
        dx = torch.empty(dy.shape).copy_(dy)
        gradients = [torch.empty(weight.shape) for weight in ctx.weights[:4]]
        dqkv_bias, dup_bias, ddown_bias = (torch.zeros(bias.shape) for bias in ctx.weights[4:7])
        ctx.compiled.trunk_backward(
            *ctx.sizes,
            pointers(ctx.weights),
            pointers([*gradients, dqkv_bias, dup_bias, ddown_bias]),
            pointer(dx),
            pointer(saved),
        )
        BUFFERS.free.append(saved)
        dbiases = dqkv_bias, torch.zeros(down_bias.shape), dup_bias, ddown_bias
        dfoldings = [[torch.zeros(part.shape) for part in folding] for folding in ctx.foldings]
        kinds = by_kind([part.float() for part in matrices])
        for kind, folding, dbias, gradient, dfolding in zip(
            kinds, ctx.foldings, dbiases, gradients, dfoldings
        ):
            ctx.compiled.unfold(
                *gradient.shape,
                pointers(kind),
                pointers(folding),
                *map(pointer, (dbias, gradient, *dfolding)),
            )
        (_, dgain1, dshift1), (dgate1, _, _), (_, dgain2, dshift2), (dgate2, _, _) = dfoldings
        dgate2 += ddown_bias * down_bias
        ddown_bias *= ctx.foldings[3][0]
        dmodulation = dshift1, dgain1, dgate1, dshift2, dgain2, dgate2
        dmatrices = (part for gradient in gradients for part in gradient.unbind())
        return dx, None, None, None, dup_bias, ddown_bias, *dmodulation, *dmatrices


def by_kind(matrices) -> list:
    """The blocks' qkv, out, up and down, contiguous, from all of them in a row."""
    blocks = len(matrices) // 4
    matrices = [matrix.contiguous() for matrix in matrices]
    return [matrices[n * blocks : (n + 1) * blocks] for n in range(4)]


def foldings(shift1, gain1, gate1, shift2, gain2, gate2, heads: int) -> tuple:
    """For qkv, out, up and down what multiplies the rows, what multiplies the columns, and the
    shift of what the matrix takes: see fold.h.
    """
    blocks, dim = gain1.shape
    ones, zeros = torch.ones(blocks, 4 * dim), torch.zeros(blocks, 4 * dim)
    scores = torch.ones(blocks, 3 * dim)
    scores[:, :dim] = math.log2(math.e) * (dim // heads) ** -0.5
    return (
        (scores, gain1, shift1),
        (gate1, torch.ones(blocks, dim), torch.zeros(blocks, dim)),
        (ones, gain2, shift2),
        (gate2, ones, zeros),
    )


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
