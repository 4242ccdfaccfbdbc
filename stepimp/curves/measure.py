"""Step-importance curves: cross-entropy and KL of several models on the same corrupted inputs
(formulas 4 to 6).

Every model's body runs once per input, one pass over the vocabulary at the masked rows gives all
statistics, and per sequence and time only sums are kept. All bands are percentile bootstraps over
sequences that resample all times and models together."""

import functools

import numpy as np
import torch

from stepimp.curves.measurements import Measurements
from stepimp.errors import StepimpError
from stepimp.intervals import bands, resampled_means
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.results import Kept


def time_grid(points: int) -> np.ndarray:
    """[points] equally spaced times up to 1, the first at 1/points."""
    return np.arange(1, points + 1) / points


def statistics_at(models: list, tokens, z, t: float):
    """Statistics of all models at the masked positions of one time; the first model is the heavy
    one.

    tokens: [B, L] clean; z: [B, L] corrupted. Returns sums over the masked positions: masked [B],
    ce [K, B], kl [K, B], entropy [B]."""
    masked = z == models[0].mask_id
    count, heads = masked.sum(1), [model.head() for model in models]
    clock = torch.full((len(z),), t, device=z.device)
    if masked.all():  # as at t = 1: the inputs are all the same, one of them will do
        rows = [model.hidden(z[:1], clock[:1])[0] for model in models]
        ce, kl, entropy = vocabulary_statistics(rows, heads, tokens.T, models[0].mask_id)
        return (
            count,
            ce.sum(1),
            kl.sum(1, keepdim=True).expand(-1, len(z)),
            entropy.sum().expand(len(z)),
        )
    at, asked = masked_positions(masked)
    rows = [model.hidden(z, clock, at)[asked] for model in models]
    found = vocabulary_statistics(rows, heads, tokens[masked], models[0].mask_id)
    return count, *(sums_by_sequence(values, masked) for values in found)


def masked_positions(masked):
    """masked: [B, L]. Returns at, [B, n] positions that hold every masked one, and asked, [B, n]:
    which those are.
    """
    widest = max(1, int(masked.sum(1).max()))  # attention takes no empty query
    asked, at = masked.sort(dim=1, descending=True, stable=True)
    return at[:, :widest], asked[:, :widest]


def sums_by_sequence(values, masked):
    """values: [..., n] at the n masked positions of masked [B, L]. Returns [..., B], in a fixed
    order of summation.
    """
    whole = values.new_zeros(*values.shape[:-1], *masked.shape)
    whole[..., masked] = values
    return whole.sum(-1)


@torch.no_grad()
def measure_chunk(denoisers: dict, tokens, uniforms, times, noise: NoiseSchedule) -> dict:
    """All statistics of one chunk of inputs. The first denoiser is the heavy one.

    tokens, uniforms: [B, L]. Returns {"masked": [times, B], "ce", "kl": {name: [times, B]},
    "entropy": [times, B]}."""
    models = list(denoisers.values())
    device = models[0].head()[0].device
    tokens, uniforms = tokens.to(device), uniforms.to(device)
    found = []
    for t in times:
        z = corrupt(tokens, uniforms, float(t), models[0].mask_id, noise)
        found.append([sums.cpu().numpy() for sums in statistics_at(models, tokens, z, float(t))])
    masked, ce, kl, entropy = (np.stack(column, axis=-2) for column in zip(*found))
    return {
        "masked": masked,
        "ce": dict(zip(denoisers, ce)),
        "kl": dict(zip(denoisers, kl)),
        "entropy": entropy,
    }


def measure(
    denoisers,
    heavy,
    lights,
    baseline,
    inputs,
    times,
    seed,
    *,
    batch_size=32,
    journal=None,
    until=None,
    progress=lambda done, total: None,
) -> Measurements:
    """Runs every model on the same corrupted inputs.

    denoisers: {name: Denoiser}; inputs: as in `stepimp.curves.inputs`; times: t values in (0, 1].
    journal: finished chunks of sequences are kept there and not run again. until: stop as soon as
    the widest 95% band of the relative KL is at most plus or minus so many nats, else take all
    inputs. seed: of the bootstrap that says so."""
    if baseline and denoisers[baseline].fingerprint == denoisers[heavy].fingerprint:
        raise StepimpError(
            f"Baseline {baseline} holds the same weights as {heavy}: it must be that model trained from another seed."
        )
    order = {
        name: denoisers[name]
        for name in dict.fromkeys([heavy, *lights, *([baseline] if baseline else [])])
    }
    together = functools.partial(
        assemble, heavy=heavy, lights=lights, baseline=baseline, inputs=inputs, times=times
    )
    journal, parts = journal or Kept(), []
    for start in range(0, len(inputs), batch_size):
        stop = min(start + batch_size, len(inputs))
        units = [f"{start}:{stop}:{repeat}" for repeat in range(inputs.repeats)]
        for repeat, unit in enumerate(units):
            if unit not in journal.done:
                journal.add(
                    unit,
                    rounded(
                        measure_chunk(order, *inputs.draw(start, stop, repeat), times, inputs.noise)
                    ),
                )
        parts.append([journal.done[unit] for unit in units])
        progress(stop, len(inputs))
        narrow = (
            until is not None and len(parts) > 1 and widest_band(together(parts), seed) <= until
        )
        if narrow:
            break
    return together(parts)


def rounded(value):
    """Nested lists with 8 significant digits, more than fp32 logits carry."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [rounded(one) for one in value]
    return float(f"{float(value):.8g}")


def assemble(parts, heavy, lights, baseline, inputs, times) -> Measurements:
    """Joins chunks, lists over repeats of what `measure_chunk` returned, along the sequences."""

    def join(*keys):
        chunks = [
            [functools.reduce(dict.__getitem__, keys, one) for one in chunk] for chunk in parts
        ]
        return np.concatenate(
            [np.stack([np.asarray(one) for one in chunk], -1) for chunk in chunks], axis=1
        )

    names = list(parts[0][0]["ce"])
    return Measurements(
        heavy,
        tuple(lights),
        baseline,
        inputs.length,
        np.asarray(times, dtype=float),
        join("masked"),
        ce={name: join("ce", name) for name in names},
        kl={name: join("kl", name) for name in names if name != heavy},
        entropy=join("entropy"),
    )


def widest_band(found: Measurements, seed: int) -> float:
    """Half the width, in nats, of the widest 95% band of the relative KL over times and light
    models.
    """
    values = np.concatenate(
        [found.per_sequence(found.relative_kl(model)) for model in found.lights]
    )
    _, low, high = bands(resampled_means(values, seed))
    return float(np.nan_to_num(high - low, nan=np.inf).max() / 2)


def rows_with_bands(found: Measurements, columns: dict, seed: int) -> list[dict]:
    """One row per model and time. columns: name -> function of a model giving [times,
    sequences].
    """
    stacked = np.concatenate([columns[name](model) for model in found.lights for name in columns])
    shape = (len(found.lights), len(columns), len(found.times))
    ends = [
        (end, np.reshape(one, shape))
        for end, one in zip(("", "_low", "_high"), bands(resampled_means(stacked, seed)))
    ]
    counted = (found.masked > 0).any(-1).sum(-1)
    return [
        {"t": float(t), "model": model}
        | {
            name + end: float(table[m, c, i])
            for c, name in enumerate(columns)
            for end, table in ends
        }
        | {"sequences": int(counted[i])}
        for m, model in enumerate(found.lights)
        for i, t in enumerate(found.times)
    ]


def loss_rows(found: Measurements, seed: int) -> list[dict]:
    """The rows of `stepimp loss`: formula (5), absolute and signed, and both cross-entropies."""
    columns = {
        "loss_abs_diff_nats": lambda model: found.loss_difference(model, absolute=True),
        "loss_diff_nats": lambda model: found.loss_difference(model, absolute=False),
        "ce_nats": lambda model: found.per_sequence(found.ce[model]),
        "ce_heavy_nats": lambda model: found.per_sequence(found.ce[found.heavy]),
    }
    return rows_with_bands(found, columns, seed)


def kl_rows(found: Measurements, seed: int) -> list[dict]:
    """The rows of `stepimp kl`: formula (6), raw, baseline and relative. Without a baseline only
    the raw KL.
    """
    columns = {"kl_nats": lambda model: found.per_sequence(found.kl[model])}
    if found.baseline:
        columns["baseline_kl_nats"] = lambda model: found.per_sequence(found.kl[found.baseline])
        columns["relative_kl_nats"] = lambda model: found.per_sequence(found.relative_kl(model))
    return rows_with_bands(found, columns, seed)
