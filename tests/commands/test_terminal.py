"""What is shown on any terminal: nothing cut, nothing that it cannot show, no control character."""

import io
import json

import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.commands._print import print_table, size, sparkline
from stepimp.commands._terminal import BARS, ERRORS, visible


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
def test_output_that_lacks_characters_is_ascii(curve_options, tmp_path, charset):
    options = [*curve_options, "--baseline", "2b_seed2", "--out", tmp_path]
    result = CliRunner(charset=charset).invoke(main, ["kl", *map(str, options)])
    assert result.exit_code == 0 and "nats per masked token" in result.stdout
    assert set("?\\▁█").isdisjoint(result.stdout)


def test_characters_have_likenesses_in_ascii():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=ERRORS)
    stream.write(f"1.0 ±0.2 {BARS} │█ ö\udc80")
    stream.flush()
    assert stream.buffer.getvalue() == rb"1.0 +-0.2 _.:-=+*# |# \xf6\udc80"


def test_control_characters_are_shown_and_do_nothing():
    assert visible("a\x1b[31m\rb\x9b\tc\nd\udc80é") == "a\\x1b[31m\\rb\\x9b\tc\nd\\udc80é"


def test_generated_control_characters_are_escaped(run, monkeypatch):
    from stepimp.models.loading import Family

    monkeypatch.setattr(Family, "decode", lambda self, rows: ["\x1b[2Jx"] * len(rows))
    outcome = run("generate", "--schedule", "H3", "--samples", 1)
    assert "\\x1b[2Jx" in outcome.stdout and "\x1b[2J" not in outcome.stdout


@pytest.mark.parametrize("value", [0.0, 1.0, -3e5])
def test_a_flat_curve_is_flat_whatever_the_rounding(value):
    assert set(sparkline([value, value * (1 + 1e-15), value * (1 - 1e-15)])) == {BARS[0]}


def test_a_curve_spans_all_bars():
    assert sparkline([0.0, 1.0, float("nan"), 7.0]) == "▁▂ █"


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_table_keeps_every_character_of_what_it_shows(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    schedule = "4b:125,8b:125,12b:500,4b:125,8b:125"
    rows = [["sandwich", schedule, "1234.56 ±78.90", "0.123 [0.001, 9.999]"]] * 2
    print_table("title", ["", "schedule", "gen-PPL", "entropy"], rows, spare=("entropy",))
    shown = capsys.readouterr().out
    assert shown.count(schedule) == shown.count("1234.56 ±78.90") == 2
    assert "…" not in shown


def test_names_with_brackets_and_colons_are_shown_as_they_are(capsys):
    name = "br[a]ck[/] :warning: [red]"
    print_table(f"Family in {name}", ["", name], [["a", name]])
    assert capsys.readouterr().out.count(name) == 3


def test_the_printed_name_of_a_judge_is_an_argument(run, tmp_path):
    generated = run("generate", "--schedule", "H3", "--samples", 2)
    assert generated.code == 0
    first = json.loads(run("evaluate", "--json").stdout)
    name = first["params"]["judge"]
    again = json.loads(run("evaluate", "--json", "--judge", name).stdout)
    assert again["rows"] == first["rows"] and name.endswith("/judge")


def test_generate_with_steps_uses_or_makes_a_schedule_of_that_many(run, measured_here):
    outcome = run("generate", "--steps", 50, "--samples", 1, "--json", "--heavy", "2b")
    assert outcome.code == 0, outcome.stderr
    schedule = json.loads(outcome.stdout)["params"]["schedule"]
    assert sum(int(part[1:]) for part in schedule.split(",")) == 50


@pytest.mark.parametrize("budget", ["25%", " 25 %", "0.25"])
def test_a_budget_may_be_in_percent(run, measured_here, budget):
    assert json.loads(run("recommend", "--budget", budget, "--json").stdout)["params"][
        "budget"
    ] == pytest.approx(0.25)


@pytest.fixture
def measured_here(run):
    assert run("kl").code == 0


@pytest.mark.parametrize("budget", ["125%", "x%", "%"])
def test_a_budget_that_is_not_a_share(run, budget):
    assert "--budget" in run("recommend", "--budget", budget).message


@pytest.mark.parametrize(
    "count, shown",
    [
        (0, "0 kB"),
        (420, "0.42 kB"),
        (551_000, "551 kB"),
        (999_900, "1000 kB"),
        (1.23e6, "1.23 MB"),
        (1.6e12, "1.6 TB"),
    ],
)
def test_a_size_has_no_exponent(count, shown):
    assert size(count) == shown
