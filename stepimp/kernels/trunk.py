"""A stack of pre-norm Transformer blocks on one CPU thread, in C++ (trunk.cpp).

Of a small model's step on a CPU, torch's operators spend more than half the time between
the matrix products: softmax, GELU, norms, rotary embedding and casts, each a pass over memory. Here
one sequence passes through a block while its activations lie in the cache. The source is compiled
on first use, for one shape, so that every loop has constant bounds.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = Path(__file__).with_suffix(".cpp")
FAST = (
    "-fassociative-math -ffinite-math-only -fno-math-errno -fno-signed-zeros -fno-trapping-math"
    " -freciprocal-math"  # -ffast-math, but for what that does to the whole process
)
FLAGS = ["-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", *FAST.split()]
FEW_THREADS = 2  # with more, torch's own operators on all of them are faster than the trunk on one
MULTIPLE = 32  # of length, width and head width, as panels of the products are 32 columns wide


@functools.cache
def compiled_trunk(length: int, dim: int, heads: int):
    """The compiled source for one shape, or None: without a C++ compiler, without AVX512-BF16, or
    for a shape that is not a multiple of 32.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None or any(size % MULTIPLE for size in (length, dim)) or dim % heads:
        return None
    if dim // heads % MULTIPLE:
        return None
    shape = [f"-DLENGTH={length}", f"-DDIM={dim}", f"-DHEADS={heads}"]
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/trunk.so"
        call = [compiler, *FLAGS, *shape, "-o", target, str(SOURCE)]
        if subprocess.run(call, capture_output=True).returncode:
            return None
        loaded = ctypes.CDLL(target)
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


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def pointers(tensors):
    """As a C struct of pointers."""
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


class Trunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, qkv, out, up, down, qkv_bias, up_bias, down_bias, cos, sin, heads):
        (batch, length, dim), blocks = x.shape, len(qkv)
        ctx.compiled, ctx.sizes = compiled_trunk(length, dim, heads), (batch, blocks)
        matrices = [part.bfloat16().contiguous() for part in (qkv, out, up, down)]
        vectors = [part.float().contiguous() for part in (qkv_bias, up_bias, down_bias, cos, sin)]
        y = torch.empty(x.shape).copy_(x)
        saved = BUFFERS.take(blocks * batch * ctx.compiled.saved_elements())
        ctx.compiled.trunk_forward(
            *ctx.sizes, pointers(matrices + vectors), pointer(y), pointer(saved), KEEP
        )
        ctx.saved = saved
        ctx.save_for_backward(*matrices, *vectors)
        return y

    @staticmethod
    def backward(ctx, dy):
        weights, saved, ctx.saved = ctx.saved_tensors, ctx.saved, None  # one backward pass only
        dx = torch.empty(dy.shape).copy_(dy)
        gradients = [torch.zeros(weight.shape) for weight in weights[:7]]
        ctx.compiled.trunk_backward(
            *ctx.sizes, pointers(weights), pointers(gradients), pointer(dx), pointer(saved)
        )
        BUFFERS.free.append(saved)
        return dx, *gradients, None, None, None


def trunk(x, qkv, out, up, down, qkv_bias, up_bias, down_bias, cos, sin, heads: int):
    """`kernels.reference.trunk` with bf16 products, fp32 sums and gradients.

    x: [B, L, D]; of N blocks the matrices, [N, out, in], and biases, [N, out]; cos, sin: [L, d / 2]
    of the rotary angles. The query rows of qkv bear the scores' scale, log2(e) / sqrt(d). Returns
    [B, L, D] in fp32. `compiled_trunk(L, D, heads)` must not be None.
    """
    return Trunk.apply(x, qkv, out, up, down, qkv_bias, up_bias, down_bias, cos, sin, heads)


class FrozenTrunk:
    """`trunk` for inference, with weights that stay as they are: 3 to 4 times as fast as torch's
    operators in fp32 at width 64.

    cos, sin: at least as long as any x. Where `fits` says so, called with x [B, L, D]; returns
    [B, L, D] in fp32, each sequence the same in every batch.
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
