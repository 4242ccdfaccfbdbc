"""A schedule or plan as JSON, to be used from other code. `docs/plans.md` describes the format."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.schedule import MOST_STEPS, Schedule

FORMAT = "stepimp-schedule/1"
AnySchedule = Schedule | MaskedSchedule | Plan


class Segment(TypedDict):
    """A segment of a schedule over steps."""

    model: str
    steps: int


class MaskedSegment(TypedDict):
    """A segment of a schedule over masked positions, from most to fewest of them."""

    model: str
    most: int
    fewest: int


class Group(TypedDict):
    """A forward pass of a plan."""

    model: str
    tokens: int


class Format(TypedDict):
    """What a file of any version has."""

    format: str


class Document(Format):
    """What a file has besides its segments or groups."""

    kind: Literal["steps", "masked", "plan"]
    steps: NotRequired[int | None]
    provenance: NotRequired[dict[str, Any]]


# kind -> (its type, the list of its parts, a part with its keys in the order of the tuple's fields)
KINDS: dict[str, tuple[type, str, type]] = {
    "steps": (Schedule, "segments", Segment),
    "masked": (MaskedSchedule, "segments", MaskedSegment),
    "plan": (Plan, "groups", Group),
}


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
        _, parts, part_type = KINDS[kind]
        document = {
            "format": FORMAT,
            "kind": kind,
            "models": list(self.schedule.models),
            "steps": self.steps,
            parts: [dict(zip(part_type.__annotations__, part)) for part in parts_of(self.schedule)],
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
    """Reads `SavedSchedule.to_json`. Raises StepimpError for anything else, which says what is
    wrong.
    """
    try:
        document = parsed(text.encode(errors="surrogatepass"))
    except ValueError as error:
        raise not_a_schedule("it is not valid JSON") from error
    if wrong := fault(document, Format):
        raise not_a_schedule(wrong)
    if document["format"] != FORMAT:
        raise StepimpError(
            f"A schedule of format {document['format']!r}; this version reads {FORMAT!r}."
        )
    if wrong := fault(document, Document):
        raise not_a_schedule(wrong)
    schedule_type, parts, part_type = KINDS[document["kind"]]
    if wrong := fault(document.get(parts), list[part_type], parts):  # type: ignore[valid-type]
        raise not_a_schedule(wrong)
    rows = tuple(tuple(row[key] for key in part_type.__annotations__) for row in document[parts])
    if not rows:
        raise not_a_schedule(f"{parts} is empty")
    schedule, steps = schedule_type(rows), document.get("steps")
    numbers = [] if steps is None else [steps]
    if isinstance(schedule, Schedule):
        numbers += [*(count for _, count in schedule.segments), schedule.steps]
    for number in numbers:
        if not 1 <= number <= MOST_STEPS:
            raise not_a_schedule(f"{number:,} steps, where 1 to {MOST_STEPS:,} are possible")
    return SavedSchedule(schedule, steps, document.get("provenance", {}))


def not_a_schedule(wrong: str) -> StepimpError:
    """The error for a file that is not as `SavedSchedule.to_json` writes it."""
    return StepimpError(
        f"Not a schedule file: {wrong}. Give one that stepimp recommend or plan saved."
    )
