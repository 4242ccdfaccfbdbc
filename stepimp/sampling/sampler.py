"""From a schedule to tokens: exact ancestral sampling of a masked diffusion model, event by event.

Each masked position unmasks at a step that is uniform on 1..T and independent of the logits, so all
steps are drawn first. A sample then goes from one of its events to the next on its own clock:
nothing runs at a step where none of its positions unmask, the projection runs only at the positions
that do, and samples waiting for the same model share a batch whatever step they are at."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from stepimp import randomness
from stepimp.errors import StepimpError
from stepimp.kernels.draw import project_and_draw
from stepimp.schedules.schedule import Schedule

# Below so many queries torch's fp32 CPU attention adds up in another order. Filled up to them, the
# logits are the same bits whatever else is in the batch.
FEWEST_QUERIES = 4


@dataclass
class State:
    """Samples somewhere on their way. `clock`: all events at steps above it have happened.

    indices: [N] sample indices; z: [N, L] tokens; unmask_step: [N, L] the step at which each
    position unmasks, 0 where it was given; shared: all samples started from the same tokens."""

    indices: np.ndarray
    z: torch.Tensor
    unmask_step: np.ndarray
    clock: int
    shared: bool

    def copy(self) -> "State":
        """A state to branch off from; the unmasking steps are never written and stay shared."""
        return State(self.indices, self.z.clone(), self.unmask_step, self.clock, self.shared)


@dataclass
class Counts:
    """What sampling cost. By model: sequences that went through its body and tokens drawn from it;
    calls of a body.
    """

    forwards: Counter = field(default_factory=Counter)
    tokens: Counter = field(default_factory=Counter)
    batches: int = 0

    def forward(self, model: str, sequences: int):
        self.forwards[model] += sequences
        self.batches += 1


def check(denoisers: dict, schedule: Schedule, length: int, prefix=None):
    """Raises StepimpError for models the schedule names and nobody loaded, and for lengths that
    cannot be.
    """
    for name in schedule.models:
        if name not in denoisers:
            raise StepimpError(
                f"The schedule names {name!r}; the models loaded are {', '.join(denoisers)}."
            )
    longest = min(denoisers[name].max_length for name in schedule.models)
    if not 1 <= length <= longest:
        raise StepimpError(
            f"Length {length} is outside 1..{longest}, the models' maximum. Change --length."
        )
    given = 0 if prefix is None else prefix.shape[-1]
    if given >= length:
        raise StepimpError(
            f"The prefix has {given} tokens, the whole length of {length}: shorten it or raise --length."
        )


def begin(
    indices, length: int, steps: int, mask_id: int, seed: int, prefix=None, device="cpu"
) -> State:
    """Samples before the first step. prefix: [P] tokens for all samples or [N, P], kept as they
    are.
    """
    indices = np.asarray(indices)
    unmask_step = 1 + (
        randomness.uniforms(seed, randomness.UNMASK_STEP, indices, length) * steps
    ).astype(np.int64)
    z = torch.full((len(indices), length), mask_id)
    if prefix is not None:
        z[:, : prefix.shape[-1]] = prefix
        unmask_step[:, : prefix.shape[-1]] = 0
    return State(indices, z.to(device), unmask_step, steps, prefix is None or prefix.ndim == 1)


def advance(
    state: State,
    denoisers: dict,
    schedule: Schedule,
    stop: int = 0,
    *,
    seed: int,
    batch_size: int = 16,
    counts: Counts | None = None,
    timed=lambda part: nullcontext(),
):
    """Runs steps clock, clock - 1, ..., stop + 1 in place and yields the row of each sample that
    has come to `stop`.

    The schedule covers all T steps, and its part from the clock to `stop` is used. counts: filled
    with what it cost. timed: called as `with timed(part)` around "body", "projection" and "draw".
    """
    runner = _Runner(state, denoisers, schedule, stop, seed, counts or Counts(), timed)
    waiting: list[int] = []
    entering = iter(range(len(state.indices)))
    while True:
        # Twice as many samples in flight as fit a batch for each model: what waits for one model
        # can fill a batch.
        while (
            len(waiting) < 2 * batch_size * len(schedule.models)
            and (row := next(entering, None)) is not None
        ):
            runner.enter(row)
            if runner.left(row):
                waiting.append(row)
            else:
                yield row
        if not waiting:
            break
        groups: dict[str, list[int]] = {}
        for row in waiting:
            groups.setdefault(runner.model(row), []).append(row)
        # A full batch of any model, else that which those farthest behind wait for: they join the
        # others.
        model = max(
            groups,
            key=lambda name: (len(groups[name]) >= batch_size, max(map(runner.left, groups[name]))),
        )
        # Those with most events left go first, so that samples end together and batches stay full.
        batch = sorted(groups[model], key=runner.left, reverse=True)[:batch_size]
        runner.run(model, batch)
        for row in batch:
            if not runner.left(row):
                waiting.remove(row)
                yield row
    state.clock = stop


class _Runner:
    """The events of `advance`: which model each sample waits for, and one batch of them."""

    def __init__(self, state, denoisers, schedule, stop, seed, counts, timed):
        self.state, self.denoisers, self.seed, self.counts, self.timed = (
            state,
            denoisers,
            seed,
            counts,
            timed,
        )
        self.by_step, self.steps = schedule.by_step(), schedule.steps
        inside = [row[(row > stop) & (row <= state.clock)] for row in state.unmask_step]
        self.events = [
            np.unique(row).tolist() for row in inside
        ]  # ascending: the next event is the last
        self.start: dict[tuple, torch.Tensor] = {}

    def left(self, row: int) -> int:
        return len(self.events[row])

    def model(self, row: int) -> str:
        return self.by_step[self.events[row][-1] - 1]

    def enter(self, row: int):
        """The first event of a fresh sample needs no forward pass of its own: all start from the
        same tokens.
        """
        state = self.state
        if not state.shared or not self.events[row] or state.unmask_step[row].max() > state.clock:
            return
        name, step = self.model(row), self.events[row].pop()
        denoiser = self.denoisers[name]
        key = (name, step if denoiser.time_conditioned else None)
        positions = np.flatnonzero(state.unmask_step[row] == step)
        asked, steps = uploaded(state.z.device, positions, [step])
        if key not in self.start:
            with self.timed("body"):
                self.start[key] = denoiser.hidden(
                    state.z[row : row + 1], steps.double() / self.steps
                )[0]
            self.counts.forward(name, 1)
        self.unmask(name, self.start[key][asked], np.full(len(positions), row), positions)

    def run(self, name: str, batch: list[int]):
        """The next event of each row of the batch, all of them waiting for this model."""
        state, denoiser = self.state, self.denoisers[name]
        steps = [self.events[row].pop() for row in batch]
        positions = [
            np.flatnonzero(state.unmask_step[row] == step) for row, step in zip(batch, steps)
        ]
        widest = max(FEWEST_QUERIES, *map(len, positions))
        at = np.stack([np.pad(p, (0, widest - len(p)), mode="edge") for p in positions])
        asked = np.concatenate([np.arange(len(p)) + i * widest for i, p in enumerate(positions)])
        rows, steps, at, asked = uploaded(state.z.device, batch, steps, at, asked)
        with self.timed("body"):
            body = getattr(denoiser, "replayed", None) or denoiser.hidden
            hidden = body(state.z[rows], steps.double() / self.steps, at).flatten(0, 1)[asked]
        self.counts.forward(name, len(batch))
        self.unmask(
            name, hidden, np.repeat(batch, [len(p) for p in positions]), np.concatenate(positions)
        )

    def unmask(self, name, hidden, rows, positions):
        """Projects and draws at these positions and writes the tokens."""
        state, denoiser = self.state, self.denoisers[name]
        where = uploaded(state.z.device, rows, positions)
        state.z[*where] = project_and_draw(
            hidden,
            denoiser.head(),
            denoiser.mask_id,
            self.seed,
            state.indices[rows],
            positions,
            timed=self.timed,
        )
        self.counts.tokens[name] += len(positions)


def uploaded(device, *integers) -> list[torch.Tensor]:
    """Integers on the device, in one copy that waits for nothing that runs there."""
    arrays = [np.asarray(each, dtype=np.int64) for each in integers]
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    parts = flat.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays)]


@torch.no_grad()
def sample(
    denoisers: dict,
    schedule: Schedule,
    indices,
    length: int,
    *,
    seed: int,
    prefix=None,
    batch_size: int = 16,
    counts: Counts | None = None,
) -> torch.Tensor:
    """Samples with these indices, each a function of (seed, index, models, schedule, prefix) alone:
    [N, length].
    """
    check(denoisers, schedule, length, prefix)
    first = denoisers[schedule.models[0]]
    device = first.head()[0].device
    state = begin(indices, length, schedule.steps, first.mask_id, seed, prefix, device)
    for _ in advance(state, denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts):
        pass
    return state.z


def expected_forwards(masked: int, steps: int) -> float:
    """Forward passes a sample needs: the expected number of distinct steps at which its masked
    positions unmask.
    """
    return steps * (1 - (1 - 1 / steps) ** masked)
