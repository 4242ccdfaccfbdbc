"""`vocabulary_statistics` as one Triton kernel: a pass over the vocabulary for all models at once.

A program takes a block of rows through a span of the vocabulary, tile by tile. The heavy model's
logits h of a tile stay in registers while those of each other model, l, are computed. Per row and
model a span stores its running maximum m, the sum of exp(l - m), and with the heavy model's
p = exp(h - m) the sum of p (h - l), for the heavy model itself of p (h - m).
"""

import torch
import triton
import triton.language as tl

from stepimp.kernels.blocks import EXCLUDED, join
from stepimp.kernels.triton_tiles import Models, common_dtype, logits_tile

# Tiles without register spills for sm_90; the large ones for 16-bit dtypes and widths that are
# multiples of the depth.
LARGE = dict(ROWS=128, COLUMNS=128, DEPTH=64, num_warps=8, num_stages=3)
SMALL = dict(ROWS=64, COLUMNS=64, DEPTH=32, num_warps=8, num_stages=3)
# Programs that share rows run side by side, so that the rows of all models come from the L2 cache.
# With few rows there are more spans, to fill the GPU.
SPANS, PROGRAMS = 8, 264


def vocabulary_statistics(rows, heads, targets, mask_id: int):
    """`kernels.statistics.vocabulary_statistics` with targets [n, m].

    Returns ce [K, n, m], kl [K, n] and entropy [n] in float64.
    """
    n, vocab, device = len(targets), len(heads[0][0]), targets.device
    whole = common_dtype(rows, heads).itemsize == 2 and all(
        x.shape[1] % LARGE["DEPTH"] == 0 for x in rows
    )
    shape = dict(LARGE if whole else SMALL)
    models = Models(rows, heads, mask_id, shape.pop("COLUMNS"), shape.pop("DEPTH"))
    blocks, tiles = triton.cdiv(n, shape["ROWS"]), triton.cdiv(vocab, models.options["COLUMNS"])
    span = triton.cdiv(tiles, min(tiles, max(SPANS, PROGRAMS // max(1, blocks))))
    spans = triton.cdiv(tiles, span)
    sums = torch.zeros(3, len(rows), spans, n, device=device)
    sums[0] = EXCLUDED
    if n:
        width = span * models.options["COLUMNS"]
        with torch.cuda.device_of(sums):  # Triton launches on the current device
            _spans[(spans, blocks)](
                models.table, sums, n, vocab, width, K=len(rows), **models.options, **shape
            )
    lse, kl, entropy = join(*_of_spans(*sums.double()))
    return lse[..., None] - target_logits(rows, heads, targets, mask_id), kl, entropy


def _of_spans(top, mass, mean):
    """lse, kl [K, spans, n] and entropy [spans, n] inside each span, from the kernel's sums."""
    lse, mean = top + mass.log(), mean / mass[0]
    kl = mean - lse[0] + lse
    kl[0] = 0
    return lse, kl, mass[0].log() - mean[0]


def target_logits(rows, heads, targets, mask_id: int):
    """[K, n, m] logits of the targets [n, m]. Taking them from the kernel's tiles would make it
    spill registers.
    """
    logits = torch.empty(len(rows), *targets.shape, dtype=torch.float64, device=targets.device)
    for k, (x, (weight, bias)) in enumerate(zip(rows, heads)):
        for column, target in enumerate(targets.T):
            products = torch.linalg.vecdot(x.float(), weight[target].float())
            logits[k, :, column] = products + bias[target].float()
    return logits.masked_fill_(targets == mask_id, EXCLUDED)


@triton.jit(do_not_specialize=["n"])
def _spans(
    models,
    sums,
    n,
    vocab,
    span,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    TYPE: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Updates sums [3, K, spans, n]: m, which starts at -1e30, and both sums, which start at 0.
    Grid: (spans, blocks of rows).
    """
    step = tl.num_programs(0).to(tl.int64) * n  # from one model to the next
    first = tl.program_id(1) * ROWS
    live = tl.arange(0, ROWS) < n - first
    rows = tl.minimum(tl.arange(0, ROWS), n - 1 - first)
    sums += tl.program_id(0) * n + first + rows
    start = tl.program_id(0) * span
    for column in range(start, tl.minimum(start + span, vocab), COLUMNS):
        heavy = logits_tile(models, first, rows, column, vocab, TYPE, EVEN, UPCAST, COLUMNS, DEPTH)
        old, mass, mean = _load(sums, step, K)
        top = tl.maximum(old, tl.max(heavy, 1))
        shrink, above = tl.exp(old - top), heavy - top[:, None]
        p = tl.exp(above)
        mean = (mean + mass * (old - top)) * shrink + tl.sum(p * above, 1)
        _store(sums, step, K, live, top, mass * shrink + tl.sum(p, 1), mean)
        for k in range(1, K):
            other = logits_tile(
                models + 4 * k, first, rows, column, vocab, TYPE, EVEN, UPCAST, COLUMNS, DEPTH
            )
            mine = sums + k * step
            old, mass, mean = _load(mine, step, K)
            top = tl.maximum(old, tl.max(other, 1))
            mass = mass * tl.exp(old - top) + tl.sum(tl.exp(other - top[:, None]), 1)
            # Recomputed from memory, so that the compiler cannot keep p: a third tile does not fit
            # into the registers.
            p = tl.exp(heavy - tl.load(sums)[:, None])
            _store(mine, step, K, live, top, mass, mean * shrink + tl.sum(p * (heavy - other), 1))


@triton.jit
def _load(sums, step, K: tl.constexpr):
    return tl.load(sums), tl.load(sums + K * step), tl.load(sums + 2 * K * step)


@triton.jit
def _store(sums, step, K: tl.constexpr, live, top, mass, mean):
    """Stores between barriers, since a thread may load what another one stored."""
    tl.debug_barrier()
    tl.store(sums, top, live)
    tl.store(sums + K * step, mass, live)
    tl.store(sums + 2 * K * step, mean, live)
    tl.debug_barrier()
