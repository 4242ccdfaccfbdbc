"""Damages files in every way that `mutations` knows, and runs the commands that read them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import data
from targets import TARGETS, Bench
from world import call

SLOW = 60  # seconds after which a command is called silent


@dataclass(frozen=True)
class Outcome:
    """One trial. problem: empty if it ended clearly and with the same rows or none."""

    target: str
    damage: str
    refused: bool
    problem: str


def undamaged(bench: Bench, target: str) -> object:
    """The rows of the command on the file as it was."""
    if target not in bench.expected:
        trial = TARGETS[target](bench)
        ended = call(*trial.command)
        assert ended.code == 0, f"{target}: {ended.output}"
        bench.expected[target] = trial.rows() if trial.rows else None
    return bench.expected[target]


def damage(bench: Bench, target: str, draw) -> Outcome:
    """Runs one trial. draw: from a strategy to a value."""
    expected = undamaged(bench, target)
    trial = TARGETS[target](bench)
    content, what, honest = draw(trial.content())
    trial.file.write_bytes(content)
    started = time.monotonic()
    ended = call(*trial.command)
    problem = ended.problem
    if not problem and time.monotonic() - started > SLOW:
        problem = f"silent for {time.monotonic() - started:.0f} s"
    if not problem and not ended.code and trial.rows and not honest:
        problem = "" if trial.rows() == expected else "accepted, with other rows"
    return Outcome(target, what, bool(ended.code), problem)


def outcomes(bench: Bench, target: str, count: int, number: int) -> list[Outcome]:
    """`count` trials of one target, the same ones for the same seed `number`."""
    found: list[Outcome] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=data())
    def trials(data):
        found.append(damage(bench, target, data.draw))

    trials()
    return found


def rounds(
    bench: Bench, count: int, number: int, go_on: Callable[[], bool], targets=tuple(TARGETS)
) -> Iterator[Outcome]:
    """Trials of all targets in turns of `count`, until `go_on` says no."""
    while go_on():
        for target in targets:
            if go_on():
                yield from outcomes(bench, target, count, number)
        number += 1
