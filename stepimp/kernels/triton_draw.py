"""`project_and_draw` as one Triton kernel: logits, noise and argmax by tiles of the vocabulary,
without [n, V] in memory.

The noise is NumPy's Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3"), word for word.
"""

import numpy as np
import torch
import triton
import triton.language as tl

from stepimp import randomness
from stepimp.kernels.triton_tiles import Models, logits_tile

ROWS, COLUMNS, DEPTH, WARPS = 64, 64, 64, 8


def project_and_draw(rows, head, mask_id: int, seed: int, samples, positions):
    """`kernels.draw.project_and_draw`: [n] token ids on the device of the rows."""
    n, vocab = len(rows), len(head[0])
    models = Models([rows], [head], mask_id, COLUMNS, DEPTH)
    tiles = triton.cdiv(vocab, COLUMNS)
    keys = torch.empty(tiles, n, dtype=torch.float64, device=rows.device)
    tokens = torch.empty(tiles, n, dtype=torch.long, device=rows.device)
    # In one copy to the device: the generator's key, then samples and positions for its counters.
    key = np.array([seed, randomness.TOKEN], np.uint64).view(np.int64)
    names = np.concatenate([key, np.asarray(samples, np.int64), np.asarray(positions, np.int64)])
    names = torch.from_numpy(names).to(rows.device, non_blocking=True)
    if n:
        grid = (tiles, triton.cdiv(n, ROWS))
        with torch.cuda.device_of(keys):  # Triton launches on the current device
            _best_of_tiles[grid](
                models.table,
                names,
                keys,
                tokens,
                n,
                vocab,
                ROWS=ROWS,
                **models.options,
                num_warps=WARPS,
            )
    return tokens.gather(0, keys.argmax(0, keepdim=True))[0]


@triton.jit(do_not_specialize=["n"])  # one kernel for all events
def _best_of_tiles(
    model,
    names,
    keys,
    tokens,
    n,
    vocab,
    ROWS: tl.constexpr,
    TYPE: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Writes keys, tokens [tiles, n]: each row's largest logit + Gumbel noise in a tile, and its
    token. Grid: (tiles, blocks of rows).
    """
    column, first = tl.program_id(0) * COLUMNS, tl.program_id(1) * ROWS
    rows = tl.minimum(tl.arange(0, ROWS), n - 1 - first)
    logits = logits_tile(model, first, rows, column, vocab, TYPE, EVEN, UPCAST, COLUMNS, DEPTH)
    row = first + rows
    key = logits.to(tl.float64) + gumbel(
        names,
        tl.load(names + 2 + row),
        tl.load(names + 2 + n + row),
        column // 4 + tl.arange(0, COLUMNS // 4),
    )
    best, where = tl.max(key, 1, return_indices=True, return_indices_tie_break_left=True)
    out = tl.program_id(0).to(tl.int64) * n + row
    live = tl.arange(0, ROWS) < n - first
    tl.store(keys + out, best, live)
    tl.store(tokens + out, (column + where).to(tl.int64), live)


@triton.jit
def gumbel(key, sample, position, block):
    """[n, 4 C] noise -log E in float64, E as in `draw.exponentials`.

    block: [C] blocks of the generator, each of which serves four neighbouring tokens.
    """
    # NumPy increments the counter before its first block.
    c0 = (block + 1).to(tl.uint64)[None, :] + tl.zeros((sample.shape[0], block.shape[0]), tl.uint64)
    c1 = tl.zeros_like(c0)
    c2, c3 = c1 + position.to(tl.uint64)[:, None], c1 + sample.to(tl.uint64)[:, None]
    a, b, c, d = philox(c0, c1, c2, c3, tl.load(key).to(tl.uint64), tl.load(key + 1).to(tl.uint64))
    pairs = tl.join(
        tl.join(minus_log_exponential(a), minus_log_exponential(c)),
        tl.join(minus_log_exponential(b), minus_log_exponential(d)),
    )
    return tl.reshape(pairs, (sample.shape[0], 4 * block.shape[0]))


@triton.jit
def minus_log_exponential(word):
    """-log(-log(1 - u)) of u = the word's upper 53 bits; 1 - u is exact in float64, so the
    logarithm needs no log1p.
    """
    u = (word >> 11).to(tl.float64) * (1.0 / (1 << 53))
    return -tl.log(tl.where(u > 0, -tl.log(1.0 - u), 0.5 / (1 << 53)))


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox 4x64-10: four words of a counter of four words, under a key of two."""
    for turn in tl.static_range(10):
        if turn > 0:
            k0 += 0x9E3779B97F4A7C15
            k1 += 0xBB67AE8584CAA73B
        high0, low0 = tl.umulhi(c0, 0xD2E7470EE14C6C93), c0 * 0xD2E7470EE14C6C93
        high2, low2 = tl.umulhi(c2, 0xCA5A826395121157), c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3
