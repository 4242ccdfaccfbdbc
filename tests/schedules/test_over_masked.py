"""Schedules over the number of masked positions, plans, and both as JSON."""

import json

import pytest

from stepimp.errors import StepimpError
from stepimp.schedules import over_masked, plan, schedule
from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.plan import Plan
from stepimp.schedules.saved import SavedSchedule, from_json

LHL = MaskedSchedule((("4b", 10, 7), ("12b", 7, 1), ("4b", 1, 0)))
PLAN = Plan((("4b", 12), ("12b", 30), ("12b", 8), ("4b", 2), ("4b", 2), ("4b", 1)))


def test_a_segment_runs_the_events_that_begin_in_it():
    assert [LHL.model_at(n) for n in (10, 8, 7, 2, 1)] == ["4b", "4b", "12b", "12b", "4b"]
    assert LHL.by_masked() == [LHL.model_at(n) for n in range(1, 11)]
    assert MaskedSchedule.of(reversed(LHL.by_masked())) == LHL
    assert LHL.length == 10 and LHL.models == ("4b", "12b")
    for n in (0, 11):
        with pytest.raises(StepimpError, match=rf"{n} masked positions are outside 1\.\.10"):
            LHL.model_at(n)


def test_schedules_over_masked_positions_are_written_and_read():
    assert LHL.format("12b", "4b") == "L@10-7,H@7-1,L@1-0"
    assert LHL.format("12b", "8b") == LHL.format() == "4b@10-7,12b@7-1,4b@1-0"
    for text in (LHL.format(), "L@10-9, L@9-7, H@7-1, L@1-0"):
        assert over_masked.parse(text, "12b", "4b", length=10) == LHL


@pytest.mark.parametrize(
    "text, message",
    [
        ("L@10-7,H@6-0", "must meet and end at 0"),
        ("L@10-7,H@8-0", "must meet and end at 0"),
        ("H@10-2", "must meet and end at 0"),
        ("H@10-10,L@10-0", "12b@10-10 is empty"),
        ("H10", "cannot read 'H10'"),
        ("", "cannot read ''"),
        ("L@9-0", "begins with 9 masked positions, not with 10"),
        ("L@1000000000-0", "1,000,000,000 masked positions; the most is 1,000,000"),
        (f"L@{'9' * 5000}-0", "cannot read 'L@999"),
    ],
)
def test_a_schedule_over_masked_positions_that_cannot_be(text, message):
    with pytest.raises(StepimpError, match=message):
        over_masked.parse(text, "12b", "4b", length=10)


def test_plans_are_written_and_read():
    assert PLAN.format("12b", "4b") == "L*12,H*30+8,L*2x2+1" and PLAN.format().startswith("4b*12,")
    for text in (PLAN.format("12b", "4b"), PLAN.format(), "L*12,H*30,H*8,L*2+2+1"):
        assert plan.parse(text, "12b", "4b", length=55) == PLAN
    assert (PLAN.length, PLAN.forwards, PLAN.forwards_of("12b")) == (55, 6, 2)
    assert PLAN.models == ("4b", "12b")


@pytest.mark.parametrize(
    "text, message",
    [
        ("L*0,H*10", "at least one token"),
        ("H*10x0", "at least one token"),
        ("H*", "cannot read"),
        ("H*3,4", "cannot read '4'"),
        ("H*3+4", "reveals 7 tokens, not 10"),
    ],
)
def test_a_plan_that_cannot_be(text, message):
    with pytest.raises(StepimpError, match=message):
        plan.parse(text, "12b", "4b", length=10)


@pytest.mark.parametrize("read", [over_masked.parse, plan.parse])
def test_a_letter_needs_its_model(read):
    text = {over_masked.parse: "L@2-0", plan.parse: "L*2"}[read]
    with pytest.raises(StepimpError, match="says L, but no light model is given"):
        read(text, "12b")


SAVED = [
    SavedSchedule(schedule.parse("L125,H750,L125", "12b", "4b")),
    SavedSchedule(LHL, provenance={"curves": "curves-0.json"}),
    SavedSchedule(LHL, steps=64),
    SavedSchedule(PLAN),
]


@pytest.mark.parametrize("saved", SAVED, ids=["steps", "masked", "masked in steps", "plan"])
def test_every_kind_is_saved_and_read(saved):
    assert from_json(saved.to_json()) == saved


WRONG = {
    "no JSON": lambda document: None,
    "another kind": lambda document: document | {"kind": "x"},
    "no format": lambda document: {k: v for k, v in document.items() if k != "format"},
    "no groups": lambda document: document | {"groups": []},
    "a number in words": lambda document: document | {"groups": [{"model": "a", "tokens": "1"}]},
    "no tokens": lambda document: document | {"groups": [{"model": "a", "tokens": 0}]},
    "no model": lambda document: document | {"groups": [{"tokens": 1}]},
    "no step": lambda document: document | {"steps": 0},
    "provenance in words": lambda document: document | {"provenance": "x"},
}
MESSAGES = {
    "no JSON": "Not a schedule file: it is not valid JSON",
    "another kind": "kind is 'x', not 'steps' or 'masked' or 'plan'",
    "no format": "lacks 'format'",
    "no groups": "groups is empty",
    "a number in words": r"groups\[0\].tokens is '1', not a whole number",
    "no tokens": "must reveal at least one token",
    "no model": r"groups\[0\] lacks 'model'",
    "no step": "0 steps, where 1 to 1,000,000 are possible",
    "provenance in words": "provenance is 'x', not an object",
}


@pytest.mark.parametrize("name, change", WRONG.items(), ids=WRONG)
def test_a_file_that_is_no_schedule_says_which_field_is_wrong(name, change):
    document = change(json.loads(SavedSchedule(PLAN).to_json()))
    text = json.dumps(document) if document else "{"
    with pytest.raises(StepimpError, match=MESSAGES[name]):
        from_json(text)
    newer = SavedSchedule(PLAN).to_json().replace("schedule/1", "schedule/2")
    with pytest.raises(StepimpError, match="this version reads 'stepimp-schedule/1'"):
        from_json(newer)


@pytest.mark.parametrize("steps", [0, 10**12])
def test_a_file_has_as_many_steps_as_the_notation_may_have(steps):
    text = SavedSchedule(schedule.Schedule((("12b", steps), ("4b", 3)))).to_json()
    with pytest.raises(StepimpError, match=f"{steps:,} steps, where 1 to 1,000,000 are possible"):
        from_json(text)


@pytest.mark.parametrize("size", ["1x1000000000", "0x1000000000", "1+1x1000000"])
def test_a_plan_has_a_million_passes_at_most(size):
    with pytest.raises(StepimpError, match="more than 1,000,000 forward passes"):
        plan.parse(f"L*{size}", "12b", "4b")


@pytest.mark.parametrize("parse, text", [(plan.parse, "L*{}"), (schedule.parse, "L{}")])
def test_a_number_of_thousands_of_digits_is_not_read(parse, text):
    with pytest.raises(StepimpError, match="cannot read 'L.*999"):
        parse(text.format("9" * 5000), "12b", "4b")
