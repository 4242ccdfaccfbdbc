"""`stepimp figures` on results files written by hand, and on what the commands themselves write."""

import json

import pytest
from by_hand import PROVENANCE, comparison, curves, write
from click.testing import CliRunner
from filled import policies, write_all

from stepimp.commands import main
from stepimp.paper.contents import DRAWN, FIGURES, NAMES, TABLES, names_for
from stepimp.plots import style

TABLE_KINDS = ("md", "csv", "tex")
WITHOUT_POLICIES = names_for({})


def run(results, out, *options):
    return CliRunner().invoke(
        main, ["figures", "--results", str(results), "--out", str(out), *options]
    )


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are laid out but not written, which takes most of the time; the figures by name."""
    drawn = {}

    def save(figure, folder, name):
        drawn[name] = figure
        return [folder / f"{name}.png"]

    monkeypatch.setattr(style, "save", save)
    return drawn


def test_everything_is_made_once_all_results_are_there(tmp_path, unsaved):
    paths = write_all(tmp_path / "results")
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    folder, lines = tmp_path / "figures", result.output.splitlines()
    tables = [*TABLES, "claims"]
    assert lines == [
        *(f"{name}: {folder / name}.png" for name in DRAWN),
        *(
            f"{name}: {', '.join(f'{folder / name}.{kind}' for kind in TABLE_KINDS)}"
            for name in tables
        ),
        f"report: {folder / 'report.html'}",
        *lines[-5:],
    ]
    assert [line.split(": ")[:2] for line in lines[-5:]] == [
        [f"claim {k}", "reproduced"] for k in range(1, 6)
    ]
    files = {f"{name}.{kind}" for name in tables for kind in TABLE_KINDS}
    assert {file.name for file in folder.iterdir()} == files | {"report.html"}
    page = (folder / "report.html").read_text("utf-8")
    for anchor in [*NAMES, "explorer", "provenance"]:
        assert f'id="{anchor}"' in page
    assert 'id="missing"' not in page
    assert page.count("✓ reproduced") == 5 and page.count("<details>") == len(paths)
    for name, figure in unsaved.items():
        title = figure.get_suptitle().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ").strip()
        assert not title or f"<b>{title}.</b>" in page, f"{name} is beside its title"


def test_every_number_of_the_paper_can_be_asked_for(tmp_path, unsaved):
    write_all(tmp_path / "results")

    def written(only):
        result = run(tmp_path / "results", tmp_path / "figures", "--only", only, "--json")
        assert result.exit_code == 0, result.output
        return list(json.loads(result.stdout)["written"])

    numbers = [str(number) for number in range(1, 15)]
    assert written(",".join(numbers)) == [f"figure{number}" for number in numbers]
    assert written(",".join(NAMES[14:])) == NAMES[14:]
    assert written("12, table3,5") == ["figure12", "table3", "figure5"]
    assert written("6") == ["figure6"]
    assert unsaved["figure6"].get_suptitle().startswith("Figure 6. Influence of each segment")


@pytest.mark.parametrize("asked", ["15", "0", "table7", "", "5,,6", "figure"])
def test_an_unknown_name_is_bad_usage(tmp_path, asked):
    result = run(tmp_path, tmp_path / "figures", "--only", asked)
    assert result.exit_code == 2 and "1 to 14" in result.stderr and "table1" in result.stderr


def test_asking_only_for_what_has_no_results_fails_and_names_the_command(tmp_path):
    write(tmp_path / "results", curves("loss"))
    result = run(tmp_path / "results", tmp_path / "figures", "--only", "3,table1")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    three, one = result.stdout.splitlines()
    assert three.startswith("figure3: ") and three.endswith("run: stepimp search")
    assert one.startswith("table1: ") and "stepimp compare --light 4b --light 6b" in one


def test_each_family_has_its_own_figures(tmp_path, unsaved):
    write(tmp_path / "results", comparison(family=str(tmp_path / "mine"), samples=7))
    arguments = [tmp_path / "results", tmp_path / "figures", "--only", "table5"]
    assert run(*arguments).exit_code == 1
    assert run(*arguments, "--family", tmp_path / "mine").exit_code == 0
    assert "7 samples per schedule" in (tmp_path / "figures" / "table5.md").read_text()


def test_what_is_missing_is_named_with_its_command(tmp_path):
    write(tmp_path / "results", curves("loss"))
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        *sorted(f"claims.{kind}" for kind in TABLE_KINDS),
        *("figure4.pdf", "figure4.png", "figure4.svg", "report.html"),
    ]
    lines = dict(text.split(": ", 1) for text in result.output.splitlines())
    assert set(lines) == {*WITHOUT_POLICIES, "report", *(f"claim {k}" for k in range(1, 6))}
    assert "stepimp kl --heavy 12b --light 4b" in lines["figure5"]
    assert "--baseline 12b_seed2" in lines["figure5"]
    assert lines["figure13"].endswith("run: stepimp compare --prefix-length 64")
    assert lines["table4"].endswith("run: stepimp compare --steps 128 --family code")
    assert lines["claim 2"].startswith("undecided: No results yet. Run: stepimp compare")
    assert "stepimp recommend" in lines["tradeoff"]


def test_an_optional_need_is_shown_once_measured_and_named_where_asked_for(tmp_path, unsaved):
    results, out = tmp_path / "results", tmp_path / "figures"
    write(results, curves("loss"))
    result = run(results, out)
    assert "policies" not in result.output + (out / "report.html").read_text("utf-8")
    asked = run(results, out, "--only", "policies")
    assert asked.exit_code == 1 and "run: stepimp compare --policies" in asked.output
    write(results, policies())
    assert run(results, out).exit_code == 0
    page = (out / "report.html").read_text("utf-8")
    assert '<figure id="policies">' in page and '<div id="policies-table">' in page
    for verdict in ("better", "not better", "worse", "other cost"):
        assert f"<td>{verdict}</td>" in page


def test_json_is_all_there_is_on_stdout(tmp_path, unsaved):
    write(tmp_path / "results", curves("loss"))
    printed = json.loads(run(tmp_path / "results", tmp_path / "figures", "--json").stdout)
    assert printed["written"]["figure4"] == [str(tmp_path / "figures" / "figure4.png")]
    assert set(printed["written"]) == {"figure4", "claims", "report"}
    assert set(printed["missing"]) == {*WITHOUT_POLICIES} - {"figure4", "claims"}
    assert [verdict["verdict"] for verdict in printed["claims"]][1:] == ["undecided"] * 4


def test_the_newest_results_are_drawn(tmp_path, unsaved):
    for started, version in enumerate(("old", "new")):
        origin = PROVENANCE | {"version": version, "started": f"2026-01-0{started + 1}"}
        write(tmp_path, curves("loss") | {"provenance": origin}, version)
    run(tmp_path, tmp_path / "figures", "--only", "4")
    assert "stepimp new." in unsaved["figure4"].get_supxlabel()


@pytest.mark.parametrize("place", ["empty", "absent"])
def test_no_results_is_one_line_and_writes_nothing(tmp_path, place):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / place, tmp_path / "figures")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "stepimp kl" in result.stderr
    assert not (tmp_path / "figures").exists()


def test_a_damaged_document_is_named_without_a_traceback(tmp_path):
    write(tmp_path / "results", curves("kl") | {"rows": []})
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "Skipped: " in result.stderr and "kl-0.json is damaged: rows is empty" in result.stderr


def test_the_report_holds_what_was_drawn_and_names_what_was_not(tmp_path, unsaved):
    write(tmp_path / "results", curves("kl"))
    assert run(tmp_path / "results", tmp_path / "figures", "--only", "5").exit_code == 0
    assert not (tmp_path / "figures" / "report.html").exists(), "it is a page of everything"
    assert run(tmp_path / "results", tmp_path / "figures").exit_code == 0
    page = (tmp_path / "figures" / "report.html").read_text("utf-8")
    assert [name for name in FIGURES if f'<figure id="{name}">' in page] == ["figure5"]
    assert 'id="explorer">Explorer</span>' in page and "stepimp recommend --budget 0.25" in page


def test_what_the_commands_write_can_be_drawn(
    tmp_path, unsaved, tiny_family, tiny_text, monkeypatch
):
    """Documents as the commands write them, and not as `by_hand` thinks they do."""
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path))
    models = ["--heavy", "2b", "--light", "1b"]
    compared = ["compare", *models, "--steps", "8", "--samples", "3", "--batch-size", "2"]
    compared += ["--length", "16"]
    prefixed = [*compared, "--data", str(tiny_text), "--prefix-length"]
    coarse = ["--segments", "4", "--light-segments", "2", "--steps", "8", "--samples", "3"]
    measured = [*models, "--data", str(tiny_text), "--sequences", "4"]
    for arguments in (
        compared,
        [*prefixed, "4"],
        [*prefixed, "2"],
        [*compared, "--fractions", "0:1:0.25"],
        ["kl", *measured, "--baseline", "2b_seed2"],
        ["loss", *measured],
        ["search", *models, *coarse],
        ["recommend", *models, "--steps", "8", "--budget", "0.25"],
        ["profile", *models, "--steps", "8", "--samples", "2", "--length", "16"],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    result = run(tmp_path, tmp_path / "figures", "--json")
    printed = json.loads(result.stdout)
    missing = {"figure11", "figure12", "table4", "masked", "plan"}
    lacking = {"figure8", "figure9", "table1"}
    assert result.exit_code == 0 and set(printed["missing"]) == missing
    assert set(printed["lacking"]) == lacking, "no command could measure these on two depths"
    assert set(printed["written"]) == {*WITHOUT_POLICIES, "report"} - missing - lacking
    needs = [verdict["needs"] for verdict in printed["claims"]]
    assert printed["claims"][3]["verdict"] == "undecided" and needs[3], "there is no LM1B role"
