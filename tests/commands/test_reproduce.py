"""`stepimp reproduce`: which commands it runs, which not again, and what it shows as they end."""

import json
import os

import pytest
from by_hand import PROVENANCE, comparison, curves, write
from click.testing import CliRunner
from filled import filled

from stepimp.commands import _protocol, main
from stepimp.commands._edition import Edition
from stepimp.commands._protocol import is_there
from stepimp.commands._steps import Ended, Step
from stepimp.commands.reproduce import command_line
from stepimp.models.family import family_folder
from stepimp.paper.contents import DRAWN, OPTIONAL, TABLES, names_for
from stepimp.paper.describe import is_reference, reference_folder
from stepimp.paper.needs import NEEDS, find_documents

SHIPPED = names_for(find_documents(reference_folder()))
MEASURED = names_for({})  # all but what no step measures


def plan(scale, family):
    return _protocol.plan(scale, family, main, "auto")


@pytest.fixture(autouse=True)
def no_faster_dtype(monkeypatch):
    """As on a machine that runs float32 fastest."""
    monkeypatch.setattr("stepimp.models.checkpoints.fast_in_bf16", lambda path: False)


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The steps that would run; each leaves the document that fills its needs, unless its command
    is in `failing`.
    """
    steps = []

    def run_steps(open_steps, workers, results, started, report):
        for number, step in enumerate(open_steps):
            steps.append(step)
            started(step)
            report(step, 1, 2)
            if step.arguments[0] in ran.failing:
                yield Ended(step, 1, "", "it failed\n")
                continue
            content = curves() if "kl" in step.needs else filled()[step.needs[0]]
            content["provenance"] = PROVENANCE | {
                "command_line": f"stepimp {' '.join(step.arguments)}"
            }
            write(results, content, f"{step.needs[0]}-{number}")
            yield Ended(step, 0, f"{step.arguments[0]} has ended\n", "")

    def ran():
        done, steps[:] = list(steps), []
        return done

    ran.failing = ()
    monkeypatch.setattr("stepimp.commands._steps.run_steps", run_steps)
    return ran


@pytest.fixture
def made(monkeypatch):
    """(name, whether its document is of the shipped run) of all that was made, which is not."""
    made = []

    def make(edition, name):
        need = (DRAWN | TABLES)[name].need if name != "claims" else None
        document = edition.documents[need] if need else None
        made.append((name, is_reference(document) if document else None))
        edition.written[name] = [name]

    monkeypatch.setattr(Edition, "make", make)
    monkeypatch.setattr(Edition, "write_report", lambda edition: made.append(("report", None)))
    return made


def call(tmp_path, *options):
    folders = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "figures")]
    return CliRunner().invoke(main, ["reproduce", "--yes", *folders, *options])


def test_each_need_has_its_step_and_a_second_call_only_draws(tmp_path, ran, made):
    first = call(tmp_path)
    assert first.exit_code == 0, first.output
    steps = ran()
    assert steps == plan("quick", None)
    assert sorted(need for step in steps for need in step.needs) == sorted(NEEDS.keys() - OPTIONAL)
    lines = [f"Step {k} of {len(steps)}: {command_line(step)}" for k, step in enumerate(steps, 1)]
    assert first.stderr.splitlines() == lines
    assert "kl has ended" in first.stdout and "figure1: figure1" in first.stdout
    again = call(tmp_path)
    assert again.exit_code == 0 and ran() == []
    assert again.stderr.splitlines() == [f"{line} (there already)" for line in lines]


def test_where_bf16_is_much_faster_what_samples_runs_in_it(monkeypatch):
    monkeypatch.setattr("stepimp.models.checkpoints.fast_in_bf16", lambda path: True)
    for line in map(command_line, plan("quick", None)):
        assert ("--dtype bfloat16" in line) == line.startswith(
            ("stepimp compare", "stepimp search")
        )


def test_the_shipped_run_is_drawn_first_and_each_figure_again_as_its_measurement_ends(
    tmp_path, ran, made
):
    call(tmp_path)
    shipped = made[: len(SHIPPED)]
    assert [name for name, _ in shipped] == SHIPPED
    assert all(reference for name, reference in shipped if name in ("figure1", "figure5", "table3"))
    assert made[len(SHIPPED)] == ("report", None), "something to look at before the first step"
    later = made[len(SHIPPED) + 1 :]
    first = [("figure4", False), ("figure5", False)]
    assert later[:2] == first, "of the first step, from what was measured here"
    assert later[-2:] == [("claims", None), ("report", None)]
    assert sorted(later[:-2]) == sorted((name, False) for name in set(MEASURED) - {"claims"})


def test_another_family_is_not_shown_the_shipped_run(tmp_path, ran, made, tiny_family):
    call(tmp_path, "--family", str(tiny_family))
    lm1b = ("figure11", "figure12", "table4")
    assert not any(reference for name, reference in made[: len(MEASURED)] if name not in lm1b)


def test_in_the_end_it_says_what_is_resolved(tmp_path, ran, made):
    shown = call(tmp_path).stdout
    assert "What is resolved at 95%" in shown
    table = shown[shown.index("What is resolved") :].splitlines()
    (heavy,) = (line for line in table if line.startswith("Figure 1: all-light (4b)"))
    assert heavy.endswith(" yes")
    (search,) = (line for line in table if "largest influence" in line)
    assert search.endswith(" no")
    (more,) = (line for line in table if "stepimp search" in line)
    assert more == "Figures 2, 3, 6, 10: about 7 s: stepimp search --samples 144"


def test_as_json_and_nothing_else(tmp_path, ran, made):
    result = call(tmp_path, "--json")
    document = json.loads(result.stdout)
    assert document.keys() == {"written", "missing", "lacking", "claims"} and document["written"]
    assert "kl has ended" in result.stderr


def test_another_scale_is_another_measurement(tmp_path, ran, made):
    call(tmp_path)
    ran()
    call(tmp_path, "--scale", "full", "--yes")
    alike = [step.arguments for step in plan("quick", None)]
    assert [step.arguments for step in ran()] == [
        step.arguments for step in plan("full", None) if step.arguments not in alike
    ]


def test_what_is_older_than_the_family_is_made_anew(tmp_path, ran, made):
    call(tmp_path)
    ran()
    trained = (family_folder() / "family.json").stat().st_mtime
    (old,) = (tmp_path / "results").glob("search-*.json")
    os.utime(old, (trained - 1, trained - 1))
    call(tmp_path)
    assert [step.arguments[0] for step in ran()] == ["search"]


def test_a_failed_step_does_not_stop_the_others_and_is_named(tmp_path, ran, made):
    ran.failing = ("search",)
    result = call(tmp_path)
    assert result.exit_code == 1 and "Failed: stepimp search" in result.stderr
    assert "it failed" in result.stderr and "Traceback" not in result.output
    assert len(ran()) == len(plan("quick", None)) and "figure1: figure1" in result.stdout
    ran.failing = ()
    assert call(tmp_path).exit_code == 0
    assert [step.arguments[0] for step in ran()] == ["search"]


def test_a_folder_without_a_family_is_one_line(tmp_path, ran):
    result = call(tmp_path, "--family", str(tmp_path / "none"))
    assert result.exit_code == 1 and "holds no family" in result.stderr and ran() == []


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_step_parses_and_the_steps_are_the_papers(scale):
    params = {}
    for step in plan(scale, None):
        command, *options = step.arguments
        context = main.commands[command].make_context(command, options)
        params.setdefault(command, []).append(context.params)
    assert {run["prefix_length"] for run in params["compare"]} == {0, 64, 32}
    assert {run["steps"] for run in params["compare"]} == {1000, 128}
    assert params["search"][0]["steps"] == 1000 and params["search"][0]["length"] is None
    if scale == "full":
        assert {run["samples"] for run in params["compare"]} == {1600}
        assert params["search"][0]["samples"] == 160
        assert {run["sequences"] for run in params["kl"]} == {500}


def test_what_is_read_by_others_is_first_and_then_the_longest():
    steps = plan("quick", None)
    first = ["kl", "recommend", "recommend", "compare"]
    assert sorted(step.arguments[0] for step in steps[:3]) == sorted(first[:3])
    assert steps[3].needs[0] == "unconditional" and len(steps[3].needs) == 5
    works = {step.needs[0]: step.work for step in steps[3:]}
    assert list(works.values()) == sorted(works.values(), reverse=True)
    assert [need for need, work in works.items() if not work] == ["plan"], "reads all that it needs"


def test_the_lm1b_role_has_its_own_family_and_as_many_steps_as_tokens():
    lines = [command_line(step) for step in plan("full", None) if "code" in step.arguments]
    assert lines == [
        "stepimp compare --steps 128 --samples 1600 --family code",
        "stepimp kl --heavy 12b --light 4b --light 8b --baseline 12b_seed2 --sequences 500 "
        "--family code",
    ]


def test_a_family_in_both_roles_is_measured_once(tiny_family, tmp_path, monkeypatch):
    (tmp_path / "code").symlink_to(tiny_family)
    monkeypatch.chdir(tmp_path)
    lines = [step.arguments for step in plan("quick", "code")]
    assert len(lines) == len(set(lines))
    assert len([line for line in lines if line[0] == "kl"]) == 1


def test_a_document_is_there_if_its_command_line_made_it(tmp_path, tiny_family):
    content = comparison()
    content["provenance"] = PROVENANCE | {"command_line": "__main__.py compare --seed 1"}
    write(tmp_path, content)

    def there(*arguments, need="unconditional"):
        return is_there(tmp_path, Step(arguments, tiny_family, (need,)))

    assert there("compare", "--seed", "1") and not there("compare", "--seed", "2")
    assert not there("search", "--seed", "1", need="search")


def test_workers_are_the_cores_by_default(tmp_path, ran, made, monkeypatch):
    asked = []

    def run_steps(steps, workers, *rest):
        asked.append(workers)
        return iter(())

    monkeypatch.setattr("stepimp.commands._steps.run_steps", run_steps)
    monkeypatch.setattr("stepimp.commands.reproduce.cores", lambda: 5)
    call(tmp_path)
    call(tmp_path, "--workers", "3")
    assert asked == [5, 3]
