"""What the Triton kernels share: a tile of logits, and how models are passed to it."""

import functools

import torch
import triton
import triton.language as tl

from stepimp.kernels.blocks import EXCLUDED

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class Models:
    """Rows and heads of K models for `logits_tile`, which are kept alive as long as this object.

    table: [K, 4] int64 on the device: the addresses of rows [n, D], weight [V, D] and bias, and D.
    The bias is fp32, padded to whole tiles, and `EXCLUDED` at the mask token and past the
    vocabulary, so that kernels need no special case for either. options: the compile-time
    arguments of `logits_tile`.
    """

    def __init__(self, rows, heads, mask_id: int, columns: int, depth: int):
        dtype = common_dtype(rows, heads)
        self.kept = [
            (aligned(x, dtype), aligned(weight, dtype), padded_bias(bias, mask_id, columns))
            for x, (weight, bias) in zip(rows, heads)
        ]
        table = [[*(part.data_ptr() for part in parts), parts[0].shape[1]] for parts in self.kept]
        self.table = torch.tensor(table).to(rows[0].device, non_blocking=True)
        self.options = {
            "TYPE": TYPES[dtype],
            "EVEN": all(width % depth == 0 for *_, width in table),
            # tl.dot of 16-bit floats is silently wrong in the interpreter.
            "UPCAST": triton.knobs.runtime.interpret,
            "COLUMNS": columns,
            "DEPTH": depth,
        }


def common_dtype(rows, heads) -> torch.dtype:
    """Dtype of the products: the narrowest that holds all rows and weights."""
    return functools.reduce(
        torch.promote_types, [x.dtype for x in (*rows, *(weight for weight, _ in heads))]
    )


def aligned(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x in a dtype, contiguous, at an address that is a multiple of 16 bytes."""
    x = x.to(dtype).contiguous()
    return x.clone() if x.data_ptr() % 16 else x


def padded_bias(bias: torch.Tensor, mask_id: int, columns: int) -> torch.Tensor:
    """The bias in fp32 and padded to a multiple of `columns`.

    It is EXCLUDED at the mask token and in the padding, and nowhere below.
    """
    whole = bias.new_full(
        (triton.cdiv(len(bias), columns) * columns,), EXCLUDED, dtype=torch.float32
    )
    whole[: len(bias)] = bias
    whole[mask_id] = EXCLUDED
    return whole.clamp_(min=EXCLUDED)


@triton.jit
def logits_tile(
    model,
    first,
    rows,
    column,
    vocab,
    TYPE: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """[rows, COLUMNS] logits in fp32: rows first + rows, tokens from `column`.

    model: a row of `Models.table`. All rows must exist; columns past the vocabulary are excluded by
    the bias.
    """
    x = tl.multiple_of(tl.load(model).to(tl.pointer_type(TYPE)), 16)
    weight = tl.multiple_of(tl.load(model + 1).to(tl.pointer_type(TYPE)), 16)
    bias = tl.multiple_of(tl.load(model + 2).to(tl.pointer_type(tl.float32)), 16)
    width = tl.load(model + 3)
    if EVEN:  # allows loads of 16 bytes
        width = tl.multiple_of(width, 16)
    # 64-bit bases and 32-bit offsets inside a tile: 64-bit offsets would spill registers.
    x += first * width
    weight += column * width
    width = width.to(tl.int32)
    inner = tl.arange(0, DEPTH)
    x_tile = rows[:, None] * width + inner[None, :]
    weight_tile = (
        tl.minimum(tl.arange(0, COLUMNS), vocab - 1 - column)[None, :] * width + inner[:, None]
    )
    logits = tl.zeros((rows.shape[0], COLUMNS), tl.float32)
    for start in range(0, width, DEPTH):
        if EVEN:
            a = tl.load(x + start + x_tile)
            b = tl.load(weight + start + weight_tile)
        else:
            a = tl.load(x + start + x_tile, mask=inner[None, :] < width - start, other=0.0)
            b = tl.load(
                weight + start + weight_tile, mask=inner[:, None] < width - start, other=0.0
            )
        if UPCAST:
            a, b = a.to(tl.float32), b.to(tl.float32)
        # For fp32 inputs three products in tf32 keep at least 21 bits and run on the tensor cores,
        # which "ieee" does not.
        logits = tl.dot(a, b, logits, input_precision="tf32x3")
    return logits + tl.load(bias + column + tl.arange(0, COLUMNS))[None, :]
