"""A schedule or plan as JSON, to be used from other code. `docs/plans.md` describes the format."""

import json
from dataclasses import dataclass, field
from typing import Any

from stepimp.errors import StepimpError
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import Schedule

FORMAT = "stepimp-schedule/1"
AnySchedule = Schedule | MaskedSchedule | Plan
# kind -> (its type, the list of its parts, the keys of a part in the order of the tuple's fields)
KINDS: dict[str, tuple[type, str, tuple[str, ...]]] = {
    "steps": (Schedule, "segments", ("model", "steps")),
    "masked": (MaskedSchedule, "segments", ("model", "most", "fewest")),
    "plan": (Plan, "groups", ("model", "tokens")),
}
NOT_A_SCHEDULE = "Not a schedule file: give one that stepimp recommend or plan saved."


@dataclass(frozen=True)
class SavedSchedule:
    """A schedule as a file holds it."""

    schedule: AnySchedule
    steps: int | None = None
    """T of ancestral sampling with a schedule over masked positions; None: events of one token
    (first-hitting sampling). A `Schedule` has a T of its own and a plan needs none: None."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where it comes from, as far as it is known: curves, fingerprints, predictions."""

    def to_json(self) -> str:
        """The file's text."""
        kind = kind_of(self.schedule)
        _, parts, keys = KINDS[kind]
        document = {
            "format": FORMAT,
            "kind": kind,
            "models": list(self.schedule.models),
            "steps": self.steps,
            parts: [dict(zip(keys, part)) for part in parts_of(self.schedule)],
            "provenance": self.provenance,
        }
        return json.dumps(document, indent=1) + "\n"


def kind_of(schedule: AnySchedule) -> str:
    """The key of KINDS for a schedule."""
    (kind,) = (kind for kind, (of, _, _) in KINDS.items() if type(schedule) is of)
    return kind


def parts_of(schedule: AnySchedule) -> tuple[tuple, ...]:
    """The segments or groups of a schedule, each with the model's name first."""
    return getattr(schedule, KINDS[kind_of(schedule)][1])


def from_json(text: str) -> SavedSchedule:
    """Reads `SavedSchedule.to_json`. Raises StepimpError for anything else."""
    try:
        document = json.loads(text)
        schedule_type, parts, keys = KINDS[document["kind"]]
        rows = tuple(tuple(part[key] for key in keys) for part in document[parts])
        written, steps = document["format"], document.get("steps")
        provenance = document.get("provenance", {})
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise StepimpError(NOT_A_SCHEDULE) from error
    if written != FORMAT:
        raise StepimpError(f"A schedule of format {written!r}; this version reads {FORMAT!r}.")
    least = 0 if schedule_type is MaskedSchedule else 1
    counts = [count for _, *numbers in rows for count in numbers]
    if not (
        rows
        and all(isinstance(model, str) for model, *_ in rows)
        and all(type(count) is int and count >= least for count in counts)
        and (steps is None or type(steps) is int and steps >= 1)
        and isinstance(provenance, dict)
    ):
        raise StepimpError(NOT_A_SCHEDULE)
    return SavedSchedule(schedule_type(rows), steps, provenance)
