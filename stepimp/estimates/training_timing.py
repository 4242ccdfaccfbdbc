"""Times a training by a few of its own steps: seconds, memory and files."""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import TrainerCallback

from stepimp.estimates import timing
from stepimp.estimates.timing import Clock
from stepimp.estimates.training import Calibration, TrainingCosts, TrainingRates
from stepimp.estimates.training_flops import causal_costs, member_costs
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.training import family, family_text, judge
from stepimp.training.callbacks import EMA
from stepimp.training.held_out import finished_part, snapshot_part
from stepimp.training.objective import MDLMTrainer, block_matrices, evaluate_nelbo
from stepimp.training.recipe import Recipe
from stepimp.training.trainer import (
    check_enough,
    join_processes,
    make_trainer,
    save,
    start_training,
    work_folder,
)

WARMUP_STEPS = 2  # which compile, and allocate
TIMED_STEPS = 4  # after them, at least
ENDLESS = 10**6  # steps: the probe ends the training
EVALUATED = 32  # sequences per timed evaluation, a batch of it


@dataclass(frozen=True)
class Subject:
    """A model before its first step, and how it is trained and evaluated."""

    model: torch.nn.Module
    trainer_class: Callable
    matrices: list[torch.nn.Parameter]
    costs: TrainingCosts
    evaluate: Callable[[torch.nn.Module, torch.Tensor], float]


class Probe(TrainerCallback):
    """Times the steps and the checkpoint of a training, and ends it as soon as they are enough.

    Comes after `EMA`, whose work is part of a step and of a checkpoint.
    """

    def __init__(self, clocks: list[Clock]):
        """clocks: of the warm-up and of all that follows."""
        self.clocks = clocks
        self.marks: list[list[float]] = []

    def now(self) -> list[float]:
        """The time on each clock, once the device has finished its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return [clock() for clock in self.clocks]

    def on_train_begin(self, *_, **__):
        self.marks = [self.now()]

    def on_step_end(self, args, state, control, **_):
        self.marks.append(self.now())
        steps = len(self.marks) - 1
        timed = self.marks[-1][1] - self.marks[min(steps, WARMUP_STEPS)][1]
        if steps >= WARMUP_STEPS + TIMED_STEPS and timed >= timing.SECONDS:
            control.should_training_stop = control.should_save = True

    def on_save(self, args, state, control, **_):
        self.checkpoint = self.now()[1] - self.marks[-1][1]

    @property
    def step(self) -> float:
        """Seconds of a step after the warm-up."""
        ends = [mark[1] for mark in self.marks[WARMUP_STEPS:]]
        return statistics.median(after - before for before, after in zip(ends, ends[1:]))

    @property
    def warmup(self) -> float:
        """Seconds that the first steps took longer than others."""
        first = self.marks[WARMUP_STEPS][0] - self.marks[0][0]
        return max(0.0, first - WARMUP_STEPS * self.step)


def measure(
    subject: Subject, tokens: torch.Tensor, held_out: torch.Tensor, tokenizer, recipe: Recipe,
    clock: Clock,
) -> TrainingRates:  # fmt: skip
    """Trains a model for a few steps in a folder of their own, evaluates and writes it.

    tokens, held_out: [N, L]. clock: of all but the warm-up of a compiled model, which other
    processes compile.
    """
    endless = replace(recipe, steps=ENDLESS, save_every=ENDLESS, snapshot_every=0)
    endless = replace(endless, schedule="cosine")
    ema = EMA(subject.model, recipe.ema)
    probe = Probe([time.perf_counter if recipe.compile else clock, clock])

    def train(work: Path, recipe: Recipe, callbacks: list[TrainerCallback]):
        make_trainer(
            subject.model, subject.trainer_class, subject.matrices, work, tokens, recipe, seed=0,
            callbacks=callbacks,
        ).train()  # fmt: skip

    with tempfile.TemporaryDirectory(prefix="stepimp-") as folder:
        work, finished = Path(folder, "training"), Path(folder, "model")
        if recipe.compile:  # the training will find what is compiled here in the cache on disk
            train(Path(folder, "compiled"), replace(endless, steps=1), [])
            torch._dynamo.reset()
        train(work, endless, [ema, probe])
        final = ema.averaged()
        evaluation = seconds_of_evaluation(subject, final, held_out, clock)
        start = clock()
        save(final, tokenizer, finished, 0.0, recipe.weights)
        return TrainingRates(
            costs=subject.costs,
            warmup=probe.warmup,
            step=probe.step,
            evaluation=evaluation,
            checkpoint=probe.checkpoint,
            model=clock() - start,
            checkpoint_bytes=bytes_in(work),
            model_bytes=bytes_in(finished),
        )


def seconds_of_evaluation(subject: Subject, model, held_out: torch.Tensor, clock: Clock) -> float:
    """Seconds of one held-out sequence."""
    part = held_out[:EVALUATED]
    subject.evaluate(model, part)  # builds caches
    return timing.median_seconds(lambda: subject.evaluate(model, part), clock) / len(part)


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def opened_again(open_text: Callable[[], tuple], watch: timing.Stopwatch, clock: Clock):
    """(opened text, seconds until it was opened once its tokens are in the cache): they are there
    by the time that the training begins.
    """
    timing.import_datasets()
    startup = watch.seconds(clock)
    open_text()
    start = clock()
    opened = open_text()
    return opened, startup + clock() - start


def time_family(
    watch: timing.Stopwatch,
    folder: Path,
    depths: list[int],
    shape: dict,
    recipe: Recipe,
    data: str,
    tokenizer_name: str | None,
    vocab_size: int | None,
    teacher: str | None,
    column: str,
) -> Calibration:
    """`training_rates.family_calibration`, measured: the depths one after the other, as a training
    takes them.
    """
    device = join_processes().device
    clock = timing.clock_for(device)
    length = shape["model_length"]
    opened, startup = opened_again(
        lambda: family_text.open_text(folder, data, length, tokenizer_name, vocab_size, column),
        watch,
        clock,
    )
    _, tokenizer, blocks, held_out = opened
    check_enough(blocks.tokens, recipe, 1)
    shape = {**shape, **family_text.vocabulary_of(tokenizer)}
    tutor = family.load_teacher(teacher, tokenizer, shape, device) if teacher else None
    models = {}
    for depth in depths:
        start_training(0)
        model = family.new_member(MDLMConfig(**shape, n_blocks=depth), recipe)
        subject = Subject(
            model,
            functools.partial(MDLMTrainer, teacher=tutor),
            block_matrices(model),
            member_costs(model, tutor),
            evaluate_nelbo,
        )
        models[f"{depth}b"] = measure(
            subject, blocks.tokens, held_out.tokens, tokenizer, recipe, clock
        )
    return Calibration(
        startup,
        timing.peak_memory(device),
        len(finished_part(held_out.tokens)),
        len(snapshot_part(held_out.tokens)),
        models,
    )


def time_judge(
    watch: timing.Stopwatch,
    folder: Path,
    shape: dict,
    recipe: Recipe,
    data: str,
    vocab_size: int,
    column: str,
) -> Calibration:
    """`training_rates.judge_calibration`, measured."""
    device, length = join_processes().device, shape["n_positions"]
    clock = timing.clock_for(device)
    (tokenizer, blocks, held_out), startup = opened_again(
        lambda: judge.open_text(work_folder(folder), data, length, vocab_size, column), watch, clock
    )
    check_enough(blocks.tokens, recipe, 1)
    start_training(0)
    model = judge.new_judge(shape, tokenizer)
    matrices = judge.layer_matrices(model)
    costs = causal_costs(model, matrices, length)
    subject = Subject(model, judge.JudgeTrainer, matrices, costs, judge.held_out_nats)
    rates = measure(subject, blocks.tokens, held_out.tokens, tokenizer, recipe, clock)
    return Calibration(
        startup,
        timing.peak_memory(device),
        len(finished_part(held_out.tokens)),
        0,
        {"judge": rates},
    )
