"""From a schedule to tokens: exact sampling of a masked diffusion model, event by event.

Each masked position unmasks at a step that is independent of the logits (`stepimp.sampling.state`),
so all steps are drawn first, and with them the model and the time of each event. A sample then goes
from one of its events to the next on its own clock: nothing runs at a step where none of its
positions unmask, the projection runs only at the positions that do, and samples that wait for the
same model share a batch, whatever step they are at.

A sample's draws are a function of (seed, sample index, position) alone. The same batches on the
same machine give the same bits. Another batch size, number of processes or processor gives the same
draws, but logits that may differ in their last bits, so that a token differs only where two
candidates tie to rounding. `sampling.reproducibility` measures how often.
"""

import math
from contextlib import nullcontext

import numpy as np
import torch

from stepimp.errors import StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.sampling.batching import bits, in_batches, rows_at, uploaded
from stepimp.sampling.kernel import Kernel
from stepimp.sampling.state import Counts, State, begin, check
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import AnySchedule
from stepimp.schedules.schedule import Schedule

__all__ = ["Counts", "State", "advance", "begin", "check", "sample", "steps_of"]

# With fewer queries torch's fp32 CPU attention sums in another order. Padding to this number takes
# away one reason why logits could depend on the batch.
FEWEST_QUERIES = 4


EXACT = Kernel()


def untimed(part: str):
    """In place of a stopwatch."""
    return nullcontext()


def advance(
    state: State,
    denoisers: dict[str, Denoiser],
    schedule: AnySchedule,
    stop: int = 0,
    *,
    seed: int,
    batch_size: int = 16,
    counts: Counts | None = None,
    timed=untimed,
):
    """Runs steps clock, clock - 1, ..., stop + 1 in place; yields the row of each sample when it
    has reached `stop`.

    schedule: over all steps; its part from the clock to `stop` is used. batch_size: sequences per
    forward pass. counts: updated with what it cost. timed: called as `with timed(part)` around
    "body", "projection" and "draw".
    """
    runner = EventRunner(state, denoisers, schedule, seed, counts, stop=stop, timed=timed)
    yield from in_batches(runner, len(state.indices), len(schedule.models), batch_size)
    state.clock = stop


def event_models(schedule: AnySchedule, state: State, events: list[list[int]]) -> list[list[str]]:
    """The model of each event of each sample, whose steps are given in ascending order."""
    match schedule:
        case MaskedSchedule():
            by_masked, models = schedule.by_masked(), []
            for unmask_step, steps in zip(state.unmask_step, events):
                pending = np.sort(unmask_step[unmask_step > 0])
                masked = np.searchsorted(pending, steps, side="right")  # when each event begins
                models.append([by_masked[n - 1] for n in masked])
            return models
        case Plan():
            return [[schedule.groups[-step][0] for step in steps] for steps in events]
    by_step = schedule.by_step()
    if state.times.ndim == 1:  # ancestral: the steps are the schedule's own
        return [[by_step[step - 1] for step in steps] for steps in events]
    times = [[state.time(row, step) for step in steps] for row, steps in enumerate(events)]
    return [
        [by_step[max(0, math.ceil(time * schedule.steps) - 1)] for time in row] for row in times
    ]


class EventRunner:
    """The events that `advance` still has to run, each with positions, time and model known."""

    def __init__(
        self,
        state: State,
        denoisers: dict[str, Denoiser],
        schedule: AnySchedule,
        seed: int,
        counts: Counts | None = None,
        *,
        kernel: Kernel = EXACT,
        stop: int = 0,
        timed=untimed,
    ):
        self.state, self.denoisers, self.seed = state, denoisers, seed
        self.counts, self.kernel, self.timed = counts or Counts(), kernel, timed
        remaining = [row[(row > stop) & (row <= state.clock)] for row in state.unmask_step]
        # Steps of each sample's events, ascending: the next event is the last of the list.
        self.events = [np.unique(row).tolist() for row in remaining]
        self.models = event_models(schedule, state, self.events)
        self.start: dict[tuple, torch.Tensor] = {}  # hidden states of the common start

    def left(self, row: int) -> int:
        """Number of events that a sample still has."""
        return len(self.events[row])

    def model(self, row: int) -> str:
        """The model that a sample waits for."""
        return self.models[row][len(self.events[row]) - 1]

    def sequences(self, name: str) -> int:
        """The most sequences that a model runs for one sample at once."""
        return 1

    def next_step(self, row: int) -> int:
        """The step of a sample's next event."""
        return self.events[row][-1]

    def enter(self, row: int):
        """Runs the first event of a fresh sample from hidden states that all samples share, since
        they start from the same tokens.
        """
        state = self.state
        if not state.shared or not self.events[row] or state.unmask_step[row].max() > state.clock:
            return
        name, step = self.model(row), self.next_step(row)
        denoiser, time = self.denoisers[name], state.time(row, step)
        key = (name, time if denoiser.time_conditioned else None)
        positions = np.flatnonzero(state.unmask_step[row] == step)
        asked, times = uploaded(state.z.device, positions, bits([time]))
        if key not in self.start:
            with self.timed("body"):
                z = state.z[row : row + 1]
                self.start[key] = denoiser.hidden(z, times.view(torch.float64))[0]
            self.counts.forward(name, 1, sequential=0)
        self.counts.sequential[name] += 1
        self.finish_events(name, self.start[key][asked], [row], [positions])

    def run(self, name: str, batch: list[int]):
        """Runs the next event of each row of the batch, which all wait for this model."""
        steps = [self.next_step(row) for row in batch]
        positions = [
            np.flatnonzero(self.state.unmask_step[row] == step) for row, step in zip(batch, steps)
        ]
        times = [self.state.time(row, step) for row, step in zip(batch, steps)]
        rows, times, at, asked = uploaded(
            self.state.z.device, batch, bits(times), *padded(positions)
        )
        hidden = self.hidden(name, self.state.z[rows], times, at)
        self.counts.forward(name, len(batch))
        self.finish_events(name, hidden.flatten(0, 1)[asked], batch, positions)

    def hidden(self, name: str, z, times, at) -> torch.Tensor:
        """[B, n, D] of a model. z: [B, L]; times: [B], as `bits`; at: [B, n]."""
        with self.timed("body"):
            return rows_at(self.denoisers[name], z, times, at)

    def finish_events(self, name: str, hidden, batch: list[int], positions: list[np.ndarray]):
        """Unmasks the positions of one event of each row of the batch.

        hidden: [n, D] at the positions of all events together.
        """
        for row in batch:
            self.events[row].pop()
        rows = np.repeat(batch, [len(p) for p in positions])
        self.unmask(name, hidden, rows, np.concatenate(positions))

    def unmask(self, name, hidden, rows, positions):
        """Draws the tokens at n positions and writes them.

        hidden: [n, D]; rows, positions: [n].
        """
        state, denoiser = self.state, self.denoisers[name]
        where = uploaded(state.z.device, rows, positions)
        samples = state.indices[rows]
        tokens = self.kernel.draw(denoiser, hidden, self.seed, samples, positions, self.timed)
        state.z[*where] = tokens
        self.counts.drawn(name, len(positions))


def padded(positions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of several rows as one array [B, widest], and where each is in it, flattened."""
    widest = max(FEWEST_QUERIES, *map(len, positions))
    at = np.stack([np.pad(p, (0, widest - len(p)), mode="edge") for p in positions])
    asked = np.concatenate([np.arange(len(p)) + i * widest for i, p in enumerate(positions)])
    return at, asked


def steps_of(
    schedule: object, steps: int | None = None, first_hitting: bool = False
) -> int | tuple[int, ...] | None:
    """What `begin` takes as `steps`: T of ancestral sampling, None for first-hitting sampling, or
    the sizes of a plan's groups.

    schedule: a schedule, a plan or a rule in place of one. steps: T for what has none of its own.
    Raises StepimpError where there is no T, and for first-hitting sampling of a plan.
    """
    if isinstance(schedule, Plan):
        if first_hitting:
            raise StepimpError(
                "A plan says how many tokens unmask together, and first-hitting sampling unmasks "
                "one at a time: choose one of them."
            )
        return tuple(tokens for _, tokens in schedule.groups)
    if first_hitting:
        return None
    number = schedule.steps if isinstance(schedule, Schedule) else steps
    if number is None:
        raise StepimpError(
            "Ancestral sampling needs T, the number of steps: give it, or choose first-hitting "
            "sampling."
        )
    return number


@torch.no_grad()
def sample(
    denoisers: dict[str, Denoiser],
    schedule: AnySchedule,
    indices,
    length: int,
    *,
    seed: int,
    prefix=None,
    batch_size: int = 16,
    counts: Counts | None = None,
    steps: int | None = None,
    first_hitting: bool = False,
) -> torch.Tensor:
    """Draws the samples with these indices: [N, length] tokens.

    prefix: [P] tokens for all samples, or [N, P]; mask tokens among them are drawn. steps: T of
    ancestral sampling with a schedule over masked positions. first_hitting: unmask one position at
    a time, the limit of T to infinity; a schedule over steps then runs the model of the step in
    which the event's time falls. Each sample's draws are a function of (seed, index) alone; see the
    module for what that promises of its tokens. Raises StepimpError as `check` and `steps_of` do.
    """
    check(denoisers, schedule, length, prefix)
    first = denoisers[schedule.models[0]]
    begun = steps_of(schedule, steps, first_hitting)
    state = begin(indices, length, begun, first.mask_id, seed, prefix, first.device, first.frame)
    for _ in advance(state, denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts):
        pass
    return state.z
