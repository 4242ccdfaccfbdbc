"""From a schedule to tokens: exact ancestral sampling of a masked diffusion model, event by event.

Each masked position unmasks at a step that is uniform on 1..T and independent of the logits, so all
steps are drawn first. A sample then goes from one of its events to the next on its own clock:
nothing runs at a step where none of its positions unmask, the projection runs only at the positions
that do, and samples that wait for the same model share a batch, whatever step they are at.

A sample's draws are a function of (seed, sample index, position) alone. The same batches on the
same machine give the same bits. Another batch size, number of processes or processor gives the same
draws, but logits that may differ in their last bits, so that a token differs only where two
candidates tie to rounding. `sampling.reproducibility` measures how often.
"""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from stepimp import randomness
from stepimp.errors import StepimpError
from stepimp.kernels.draw import project_and_draw
from stepimp.models.denoiser import Denoiser
from stepimp.sampling.prefix import check_prefix
from stepimp.schedules.schedule import Schedule

# With fewer queries torch's fp32 CPU attention sums in another order. Padding to this number takes
# away one reason why logits could depend on the batch.
FEWEST_QUERIES = 4


@dataclass
class State:
    """Partly denoised samples, on the way from step T to step 0."""

    indices: np.ndarray
    """[N] sample indices, which name the random numbers."""
    z: torch.Tensor
    """[N, L] tokens."""
    unmask_step: np.ndarray
    """[N, L] step at which each position unmasks, 0 for those of a prefix or frame."""
    clock: int
    """All events at steps above it have happened."""
    shared: bool
    """Whether all samples started from the same tokens."""

    def copy(self) -> "State":
        """A branch. The unmasking steps are never written to and stay shared."""
        return State(self.indices, self.z.clone(), self.unmask_step, self.clock, self.shared)


@dataclass
class Counts:
    """What sampling cost."""

    forwards: Counter = field(default_factory=Counter)
    """model -> sequences that went through its body."""
    tokens: Counter = field(default_factory=Counter)
    """model -> tokens drawn from it."""
    batches: int = 0
    """Calls of a body."""

    def forward(self, model: str, sequences: int):
        """Counts one call of a model's body."""
        self.forwards[model] += sequences
        self.batches += 1


def check(
    denoisers: dict[str, Denoiser],
    schedule: Schedule,
    length: int,
    prefix: torch.Tensor | None = None,
):
    """Raises StepimpError if the schedule names a model that is not loaded, or if `length` is
    outside 1 to the models' maximum or not above the length of the prefix.
    """
    for name in schedule.models:
        if name not in denoisers:
            raise StepimpError(
                f"The schedule names {name!r}; the models loaded are {', '.join(denoisers)}."
            )
    longest = min(denoisers[name].max_length for name in schedule.models)
    if not 1 <= length <= longest:
        raise StepimpError(
            f"Length {length} is outside 1..{longest}, the models' maximum: choose another one."
        )
    if prefix is not None:
        check_prefix(prefix, denoisers[schedule.models[0]].vocab_size)
    around = sum(map(len, denoisers[schedule.models[0]].frame))
    given = (0 if prefix is None else prefix.shape[-1]) + around
    if given >= length:
        special = f" and there are {around} special tokens," if around else ""
        raise StepimpError(
            f"The prefix has {given - around} tokens,{special} the whole length of {length}: "
            "shorten it or choose a larger length."
        )


def begin(
    indices,
    length: int,
    steps: int,
    mask_id: int,
    seed: int,
    prefix: torch.Tensor | None = None,
    device="cpu",
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ()),
) -> State:
    """Samples before their first step.

    indices: N sample indices; prefix: [P] tokens for all samples, or [N, P]; frame: tokens that
    come before the prefix and at the end. All of these are kept.
    """
    indices = np.asarray(indices)
    unmask_step = 1 + (
        randomness.uniforms(seed, randomness.UNMASK_STEP, indices, length) * steps
    ).astype(np.int64)
    z = torch.full((len(indices), length), mask_id)
    for place, tokens in kept_tokens(length, prefix, frame):
        z[:, place] = tokens
        unmask_step[:, place] = 0
    return State(indices, z.to(device), unmask_step, steps, prefix is None or prefix.ndim == 1)


def kept_tokens(length: int, prefix, frame) -> list[tuple[slice, torch.Tensor]]:
    """(where, tokens) of what a sample is given: the frame's start, the prefix, the frame's end."""
    start, end = frame
    parts = [(slice(0, len(start)), torch.tensor(start, dtype=torch.long))]
    if prefix is not None:
        parts.append((slice(len(start), len(start) + prefix.shape[-1]), prefix))
    parts.append((slice(length - len(end), length), torch.tensor(end, dtype=torch.long)))
    return parts


def advance(
    state: State,
    denoisers: dict[str, Denoiser],
    schedule: Schedule,
    stop: int = 0,
    *,
    seed: int,
    batch_size: int = 16,
    counts: Counts | None = None,
    timed=lambda part: nullcontext(),
):
    """Runs steps clock, clock - 1, ..., stop + 1 in place; yields the row of each sample when it
    has reached `stop`.

    schedule: over all T steps; its part from the clock to `stop` is used. batch_size: sequences per
    forward pass. counts: updated with what it cost. timed: called as `with timed(part)` around
    "body", "projection" and "draw".
    """
    runner = _Runner(state, denoisers, schedule, stop, seed, counts or Counts(), timed)
    waiting: list[int] = []
    entering = iter(range(len(state.indices)))
    while True:
        # With two batches of samples in flight per model, those that wait for one can fill a batch.
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
        # A model with a full batch; else the one that the samples farthest behind wait for.
        model = max(
            groups,
            key=lambda name: (len(groups[name]) >= batch_size, max(map(runner.left, groups[name]))),
        )
        # Samples with most events left go first: all end together, and batches stay full.
        batch = sorted(groups[model], key=runner.left, reverse=True)[:batch_size]
        runner.run(model, batch)
        for row in batch:
            if not runner.left(row):
                waiting.remove(row)
                yield row
    state.clock = stop


class _Runner:
    """The events that `advance` still has to run, and the running of one batch of them."""

    def __init__(self, state, denoisers, schedule, stop, seed, counts, timed):
        self.state, self.denoisers, self.seed = state, denoisers, seed
        self.counts, self.timed = counts, timed
        self.by_step, self.steps = schedule.by_step(), schedule.steps
        remaining = [row[(row > stop) & (row <= state.clock)] for row in state.unmask_step]
        # Steps of each sample's events, ascending: the next event is the last of the list.
        self.events = [np.unique(row).tolist() for row in remaining]
        self.start: dict[tuple, torch.Tensor] = {}  # hidden states of the common start

    def left(self, row: int) -> int:
        """Number of events that a sample still has."""
        return len(self.events[row])

    def model(self, row: int) -> str:
        """The model that a sample waits for."""
        return self.by_step[self.events[row][-1] - 1]

    def enter(self, row: int):
        """Runs the first event of a fresh sample from hidden states that all samples share, since
        they start from the same tokens.
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
        """Runs the next event of each row of the batch, which all wait for this model."""
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
        """Draws the tokens at n positions and writes them.

        hidden: [n, D]; rows, positions: [n].
        """
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
    """Integer arrays as tensors on the device, by one copy that does not wait for the device."""
    arrays = [np.asarray(each, dtype=np.int64) for each in integers]
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    parts = flat.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays)]


@torch.no_grad()
def sample(
    denoisers: dict[str, Denoiser],
    schedule: Schedule,
    indices,
    length: int,
    *,
    seed: int,
    prefix=None,
    batch_size: int = 16,
    counts: Counts | None = None,
) -> torch.Tensor:
    """Draws the samples with these indices: [N, length] tokens.

    prefix: [P] tokens for all samples, or [N, P]. Each sample's draws are a function of (seed,
    index) alone; see the module for what that promises of its tokens. Raises StepimpError as
    `check` does.
    """
    check(denoisers, schedule, length, prefix)
    first = denoisers[schedule.models[0]]
    device = first.device
    state = begin(indices, length, schedule.steps, first.mask_id, seed, prefix, device, first.frame)
    for _ in advance(state, denoisers, schedule, seed=seed, batch_size=batch_size, counts=counts):
        pass
    return state.z
