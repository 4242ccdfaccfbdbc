"""Exact draws from logits, with noise that depends on (seed, sample, position) alone."""

from contextlib import nullcontext

import numpy as np
import torch

from stepimp import randomness
from stepimp.kernels import reference
from stepimp.kernels.choice import check_projection, choose
from stepimp.kernels.linear import project

# Rows projected and drawn at once: bounds memory when many positions unmask together (T = 1).
ROW_BLOCK = 64
# With a single row torch's fp32 CPU product sums in another order. Padding to this number takes
# away one reason why logits could depend on the batch.
FEWEST_ROWS = 2


def exponentials(
    seed: int, sample: int, position: int, vocab_size: int, stream: int = randomness.TOKEN
) -> np.ndarray:
    """[V] standard exponentials in float64.

    -log(1 - u) with u on a grid of 2^-53 and half a step in place of 0: the smallest is 2^-54, so
    that a token of any probability down to 1e-16 can win and none has infinite noise.
    """
    u = randomness.generator(seed, stream, sample, position).random(vocab_size)
    return -np.log1p(-np.maximum(u, 2.0**-54))


def check_row_names(rows: torch.Tensor, samples, positions):
    """Raises ValueError unless there is a sample and a position for each row."""
    try:
        sizes = [len(samples), len(positions)]
    except TypeError as error:
        raise ValueError(f"samples and positions are {len(rows)} integers each") from error
    if sizes != [len(rows)] * 2:
        raise ValueError(f"{len(rows)} rows, {sizes[0]} samples and {sizes[1]} positions")


def draw_tokens(
    logits: torch.Tensor, seed: int, samples, positions, stream: int = randomness.TOKEN
) -> torch.Tensor:
    """One token per row by Gumbel-max: argmax over v of logits_v - log E_v, in float64.

    logits: [n, V]; samples, positions: n integers each, which name the row's random numbers. Two
    models that see the same noise agree as often as Gumbel coupling of their distributions allows.
    stream: which of the streams of `randomness` the noise is from. Returns [n] token ids. Raises
    ValueError unless there is a sample and a position for each row.
    """
    check_row_names(logits, samples, positions)
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for row, (sample, position) in enumerate(zip(samples, positions)):
        noise = torch.from_numpy(
            exponentials(seed, int(sample), int(position), logits.shape[-1], stream)
        ).log_()
        tokens[row] = (logits[row].double() - noise.to(logits.device)).argmax()
    return tokens


def project_and_draw(
    rows: torch.Tensor,
    head,
    mask_id: int,
    seed: int,
    samples,
    positions,
    impl: str = "auto",
    timed=lambda part: nullcontext(),
) -> torch.Tensor:
    """`draw_tokens(rows @ weight.T + bias, ...)` with the mask token excluded: one token per hidden
    row.

    rows: [n, D]; head: weight [V, D] and bias [V]; samples, positions: n integers each. Returns [n]
    token ids on the device of the rows. All implementations draw with the same noise. A row's
    logits may differ in their last bits between implementations, devices and numbers of rows, so
    that its token differs only where two candidates tie to rounding. impl: reference; torch;
    triton, which never writes logits to memory; auto: triton on a CUDA device, else torch. timed:
    called as `with timed(part)` around "projection" and "draw"; triton does both in one, "draw".
    Raises StepimpError if triton cannot run, ValueError for arguments that do not fit each other.
    """
    check_projection(rows, head, mask_id)
    check_row_names(rows, samples, positions)
    impl = choose(impl, rows)
    if impl == "triton":
        from stepimp.kernels import triton_draw

        with timed("draw"):
            return triton_draw.project_and_draw(rows, head, mask_id, seed, samples, positions)
    if impl == "reference":
        named = zip(samples, positions)
        noise = np.stack([exponentials(seed, int(s), int(p), len(head[0])) for s, p in named])
        logits = reference.log_probabilities(rows, head, mask_id)
        return reference.gumbel_argmax(logits, torch.from_numpy(noise).to(logits.device))
    tokens = [rows.new_empty(0, dtype=torch.long)]
    for start in range(0, len(rows), ROW_BLOCK):
        block = slice(start, start + ROW_BLOCK)
        with timed("projection"):
            logits = projected(rows[block], head, mask_id)
        with timed("draw"):
            tokens.append(draw_tokens(logits, seed, samples[block], positions[block]))
    return torch.cat(tokens)


def projected(rows: torch.Tensor, head, mask_id: int) -> torch.Tensor:
    """Logits [n, V] of rows [n, D], as the torch implementation draws from."""
    if len(rows) >= FEWEST_ROWS:
        return project(rows, head, mask_id)
    return project(rows.expand(FEWEST_ROWS, -1), head, mask_id)[:1]
