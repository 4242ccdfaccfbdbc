"""Whether a sequence's logits are the same bits alone and in larger batches: a measurement.

Libraries choose kernels and orders of summation by the shape of a batch, by processor and by
version, so that this holds for some models on some machines and not for others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stepimp.columns import typed
from stepimp.kernels.draw import draw_tokens, projected
from stepimp.models.denoiser import Denoiser
from stepimp.rows import ReproducibilityRow
from stepimp.sampling import sampler
from stepimp.sampling.batching import body_of
from stepimp.schedules.schedule import Schedule

BATCH_SIZES = (2, 4, 8, 16)
SEQUENCES = 32
STEPS = 8  # T of the samples whose states halfway are the inputs


@torch.no_grad()
def reproducibility_rows(
    denoisers: dict[str, Denoiser],
    length: int,
    *,
    seed: int,
    batch_sizes=BATCH_SIZES,
    sequences=SEQUENCES,
) -> list[ReproducibilityRow]:
    """A row per model and batch size: logits in batches of that size against batches of one.

    Inputs are each model's own samples, half of their positions still masked. They go through body
    and projection in the shapes in which `sampler.advance` calls them when one position of every
    sequence unmasks, at FEWEST_QUERIES masked positions of each sequence in turn.
    """
    rows = []
    for name, denoiser in denoisers.items():
        z, t, positions = halfway(denoiser, length, sequences, seed)
        alone = logits_in_batches(denoiser, z, t, positions, 1)
        for batch_size in batch_sizes:
            together = logits_in_batches(denoiser, z, t, positions, batch_size)
            difference = compared(alone, together, positions, seed)
            row = {"kind": "reproducibility", "model": name, "batch_size": batch_size}
            rows.append(typed(ReproducibilityRow, row | difference))
    return rows


def halfway(denoiser: Denoiser, length: int, sequences: int, seed: int):
    """States z [N, L] of a model's samples halfway, their time t [N], and masked positions [N, Q].

    A sequence with fewer than Q masked positions repeats them; one with none asks about position 0.
    """
    device = denoiser.device
    state = sampler.begin(
        range(sequences),
        length,
        STEPS,
        denoiser.mask_id,
        seed,
        device=device,
        frame=denoiser.frame,
    )
    schedule = Schedule.of(["model"] * STEPS)
    for _ in sampler.advance(state, {"model": denoiser}, schedule, STEPS // 2, seed=seed):
        pass
    masked = [np.flatnonzero(row) if row.any() else [0] for row in state.unmask_step <= STEPS // 2]
    positions = np.stack([np.resize(row, sampler.FEWEST_QUERIES) for row in masked])
    t = torch.full((sequences,), 0.5, dtype=torch.float64, device=device)
    return state.z, t, torch.from_numpy(positions).to(device)


def logits_in_batches(denoiser: Denoiser, z, t, positions, batch_size: int) -> torch.Tensor:
    """[Q, N, V] logits at positions [N, Q], computed for `batch_size` sequences at a time."""
    body = body_of(denoiser)
    columns = []
    for column in positions.T:
        at = column[:, None].expand(-1, sampler.FEWEST_QUERIES)
        batches = zip(z.split(batch_size), t.split(batch_size), at.split(batch_size))
        hidden = (body(*batch)[:, 0] for batch in batches)
        columns.append(
            torch.cat([projected(rows, denoiser.head(), denoiser.mask_id) for rows in hidden])
        )
    return torch.stack(columns)


def compared(alone: torch.Tensor, together: torch.Tensor, positions, seed: int) -> dict:
    """Columns of a `ReproducibilityRow` from logits [Q, N, V] computed in two ways.

    A unit in the last place is that of the larger of two logits.
    """
    samples = np.tile(np.arange(alone.shape[1]), len(alone))
    places = positions.T.flatten().tolist()
    alone, together = alone.flatten(0, 1), together.flatten(0, 1)
    difference = torch.where(alone == together, 0.0, alone - together).abs()
    larger = torch.maximum(alone.abs(), together.abs()).where(difference > 0, 1.0)
    spacing = torch.nextafter(larger, torch.full_like(larger, torch.inf)) - larger
    tokens = [draw_tokens(logits, seed, samples, places) for logits in (alone, together)]
    return {
        "logit_rows": len(alone),
        "rows_different": int((difference > 0).any(-1).sum()),
        "largest_logit_diff": float(difference.max()),
        "largest_ulp_diff": float((difference / spacing).max()),
        "argmax_different": int((alone.argmax(-1) != together.argmax(-1)).sum()),
        "tokens_different": int((tokens[0] != tokens[1]).sum()),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `ReproducibilityRow`s say, in one sentence."""
    total, different = (sum(row[name] for row in rows) for name in ("logit_rows", "rows_different"))
    sizes = ", ".join(map(str, dict.fromkeys(row["batch_size"] for row in rows)))
    if not different:
        return f"Logits are the same bits alone and in batches of {sizes} ({total} rows compared)."
    largest = max(row["largest_logit_diff"] for row in rows)
    tokens = sum(row["tokens_different"] for row in rows)
    return (
        f"Logits alone and in batches of {sizes}: {different} of {total} rows differ, by at most "
        f"{largest:.1e}, and {tokens} of the tokens drawn from them."
    )
