"""Step-importance curves: cross-entropy and KL of several models on the same corrupted inputs
(formulas 4 to 6).

Every model's body runs once per input, one pass over the vocabulary at the masked rows gives all
statistics, and per sequence and time only sums are kept.
"""

import functools
from collections.abc import Mapping

import numpy as np
import torch

from stepimp.checks import is_array, span
from stepimp.curves.inputs import Inputs
from stepimp.curves.measurements import Measurements
from stepimp.curves.tables import widest_band
from stepimp.errors import StepimpError
from stepimp.journals import Check, MemoryJournal
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.denoiser import Denoiser, checked_rows
from stepimp.noise import NoiseSchedule, corrupt
from stepimp.processes import Processes
from stepimp.progress import ProgressOption, reporter


def time_grid(points: int) -> np.ndarray:
    """[points] equally spaced times up to 1, the first at 1/points."""
    return np.arange(1, points + 1) / points


def statistics_at(models: list[Denoiser], tokens, z, t: float):
    """Statistics of all models at the masked positions of one time; the first model is the heavy
    one.

    tokens: [B, L] clean; z: [B, L] corrupted. Returns sums over the masked positions: masked [B],
    ce [K, B], kl [K, B], entropy [B].
    """
    masked = z == models[0].mask_id
    count, heads = masked.sum(1), [model.head() for model in models]
    clock = torch.full((len(z),), t, device=z.device)
    if masked.all():  # as at t = 1: all inputs are equal, so the first one serves for all
        rows = [model.hidden(z[:1], clock[:1])[0] for model in models]
        ce, kl, entropy = vocabulary_statistics(rows, heads, tokens.T, models[0].mask_id)
        return (
            count,
            ce.sum(1),
            kl.sum(1, keepdim=True).expand(-1, len(z)),
            entropy.sum().expand(len(z)),
        )
    at, is_masked = masked_positions(masked)
    rows = [checked_rows(model, model.hidden(z, clock, at), at)[is_masked] for model in models]
    statistics = vocabulary_statistics(rows, heads, tokens[masked], models[0].mask_id)
    return count, *(sums_by_sequence(values, masked) for values in statistics)


def masked_positions(masked):
    """masked: [B, L]. Returns at, [B, n] positions that hold every masked one, and is_masked,
    [B, n]: which of them are.
    """
    widest = max(1, int(masked.sum(1).max()))  # attention rejects empty queries
    is_masked, at = masked.sort(dim=1, descending=True, stable=True)
    return at[:, :widest], is_masked[:, :widest]


def sums_by_sequence(values, masked):
    """values: [..., n] at the n masked positions of masked [B, L]. Returns [..., B], in a fixed
    order of summation.
    """
    whole = values.new_zeros(*values.shape[:-1], *masked.shape)
    whole[..., masked] = values
    return whole.sum(-1)


@torch.no_grad()
def measure_chunk(
    denoisers: dict[str, Denoiser], tokens, uniforms, times, noise: NoiseSchedule
) -> dict:
    """All statistics of one chunk of inputs. The first denoiser is the heavy one.

    tokens, uniforms: [B, L]. Returns {"masked": [times, B], "ce", "kl": {name: [times, B]},
    "entropy": [times, B]}.
    """
    models = list(denoisers.values())
    device = models[0].device
    tokens, uniforms = tokens.to(device), uniforms.to(device)
    by_time = []
    for t in times:
        z = corrupt(tokens, uniforms, float(t), models[0].mask_id, noise)
        by_time.append([sums.cpu().numpy() for sums in statistics_at(models, tokens, z, float(t))])
    masked, ce, kl, entropy = (np.stack(column, axis=-2) for column in zip(*by_time))
    return {
        "masked": masked,
        "ce": dict(zip(denoisers, ce)),
        "kl": dict(zip(denoisers, kl)),
        "entropy": entropy,
    }


def measure(
    denoisers: dict[str, Denoiser],
    heavy: str,
    lights,
    baseline: str | None,
    inputs: Inputs,
    times,
    seed: int,
    *,
    batch_size=32,
    journal=None,
    until: float | None = None,
    progress: ProgressOption = False,
) -> Measurements:
    """Runs every model on the same corrupted inputs.

    denoisers: {name: Denoiser}; lights: names of the light ones; inputs: such as
    `curves.inputs.TextInputs` of tokens [N, L]; times: t values in (0, 1]. journal: keeps finished
    chunks of sequences, which are not run again. until: stop as soon as the widest 95% band of the
    relative KL is at most plus or minus this, in nats; else take all inputs. seed: of the bootstrap
    that decides it. progress: True for a bar, or called with the sequences measured and to measure.
    Raises StepimpError for models that are not there, inputs and times that cannot be used, and
    where the baseline has the heavy model's weights.
    """
    progress = reporter(progress)
    lights = (lights,) if isinstance(lights, str) else tuple(lights)
    check_measurement(denoisers, [heavy, *lights, baseline or heavy], inputs, times)
    if baseline and denoisers[baseline].fingerprint == denoisers[heavy].fingerprint:
        raise StepimpError(
            f"Baseline {baseline} holds the same weights as {heavy}: it must be that model trained "
            "from another seed."
        )
    order = {
        name: denoisers[name]
        for name in dict.fromkeys([heavy, *lights, *([baseline] if baseline else [])])
    }
    joined = functools.partial(
        assemble, heavy=heavy, lights=lights, baseline=baseline, inputs=inputs, times=times
    )
    starts = range(0, len(inputs), batch_size)
    chunks = [(start, min(start + batch_size, len(inputs))) for start in starts]
    journal, processes, repeats = journal or MemoryJournal(), Processes(), range(inputs.repeats)

    def measured(chunk: tuple[int, int], repeat: int) -> dict:
        return rounded(measure_chunk(order, *inputs.draw(*chunk, repeat), times, inputs.noise))

    def results(some: list[tuple[int, int]]) -> list[list[dict]]:
        """The statistics of these chunks, which the processes measure where they are missing."""
        units = {chunk_unit(chunk, repeat): (chunk, repeat) for chunk in some for repeat in repeats}
        done = processes.finish_units(
            units,
            lambda unit: measured(*unit),
            journal,
            lambda units_done, _: progress(
                min(units_done * batch_size // len(repeats), len(inputs)), len(inputs)
            ),
        )
        return [[done[chunk_unit(chunk, repeat)] for repeat in repeats] for chunk in some]

    if until is None:
        return joined(results(chunks))
    # As many chunks at a time as there are processes; where to stop does not depend on that.
    for start in range(0, len(chunks), processes.count):
        stop = min(start + processes.count, len(chunks))
        so_far = results(chunks[:stop])
        for count in range(max(2, start + 1), stop + 1):
            if widest_band(joined(so_far[:count]), seed) <= until:
                return joined(so_far[:count])
    return joined(so_far)


def check_measurement(denoisers, names: list[str], inputs, times):
    """Raises StepimpError for what `measure` cannot measure."""
    if not isinstance(denoisers, Mapping):
        raise StepimpError(
            f"The denoisers are a dict from name to denoiser, not a {type(denoisers).__name__}: "
            "a family has it as `denoisers`."
        )
    for name in names:
        if name not in denoisers:
            raise StepimpError(f"There is no denoiser {name!r} among {', '.join(denoisers)}.")
    if not hasattr(inputs, "draw"):
        raise StepimpError(
            f"Inputs are made of tokens, such as TextInputs(tokens, seed, noise), not a "
            f"{type(inputs).__name__}."
        )
    if outside := [t for t in times if not 0 < t <= 1]:
        raise StepimpError(f"Times are above 0 and at most 1, not {outside[0]}.")


def chunk_unit(chunk: tuple[int, int], repeat: int) -> str:
    """What the journal calls a chunk of sequences under one of their corruptions."""
    return f"{chunk[0]}:{chunk[1]}:{repeat}"


def chunk_check(models: list[str], times) -> Check:
    """The check of a journal that keeps results of `measure_chunk`."""

    def check(unit: str, result) -> str:
        chunk, _, repeat = unit.rpartition(":")
        shape = (len(times), span(chunk))
        sums = [result] if isinstance(result, dict) else []
        by_model = [part.get(kind) for part in sums for kind in ("ce", "kl")]
        arrays = [part.get(name) for part in sums for name in ("masked", "entropy")]
        for values in by_model:
            arrays += (
                [values.get(model) for model in models] if isinstance(values, dict) else [None]
            )
        whole = arrays and all(is_array(array, shape) for array in arrays)
        return "" if whole and repeat.isdecimal() else f"unit {unit} is not a whole chunk of sums"

    return check


def rounded(value):
    """Nested lists with 8 significant digits, more than fp32 logits carry."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return [rounded(part) for part in value]
    return float(f"{float(value):.8g}")


def assemble(chunks: list[list[dict]], heavy, lights, baseline, inputs, times) -> Measurements:
    """Joins chunks along the sequences; each is a list over repeats of `measure_chunk`'s result."""

    def join(*keys):
        parts = [
            [np.asarray(functools.reduce(dict.__getitem__, keys, repeat)) for repeat in chunk]
            for chunk in chunks
        ]
        return np.concatenate([np.stack(repeats, -1) for repeats in parts], axis=1)

    names = list(chunks[0][0]["ce"])
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
