"""`stepimp figures` on results files written by hand, and on what the library itself writes."""

import json
import math
import os
import re

import numpy as np
import pytest
from by_hand import AS_PUBLISHED, comparison, fractions, search, sizes
from by_hand import write as write_document
from click.testing import CliRunner

from stepimp.commands import figures as command
from stepimp.commands import main
from stepimp.paper.needs import HAND_CRAFTED, find_documents
from stepimp.paper.tables import TABLES
from stepimp.plots import style
from stepimp.plots.figures import FIGURES
from stepimp.results import newest

PARAMS = {
    "heavy": "12b",
    "lights": ["4b"],
    "baseline": "12b_seed2",
    "data": "docs",
    "inputs": "text",
}
BLOCKS = {"12b": 12, "4b": 4, "12b_seed2": 12}
COLUMNS = {
    "loss": ["loss_abs_diff_nats", "loss_diff_nats", "ce_nats", "ce_heavy_nats"],
    "kl": ["kl_nats", "baseline_kl_nats", "relative_kl_nats"],
}
SCHEDULES = {
    "recommended": ("L3,H6,L1", 0.4, 0.2),
    "sandwich": ("L2,H6,L2", 0.4, 0.3),
    "all-heavy": ("H10", 0, 0.0),
    "all-light": ("L10", 1, 1.0),
}


def curve_rows(kind):
    rows = []
    for t in (0.25, 0.5, 0.75, 1.0):
        height = math.sin(math.pi * t)
        bands = {
            c + end: height + add
            for c in COLUMNS[kind]
            for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))
        }
        rows.append({"t": t, "model": "4b", "sequences": 9, **bands})
    return rows


def schedule_rows():
    return [
        point(text, part, objective) | {"name": name}
        for name, (text, part, objective) in SCHEDULES.items()
    ]


def point(schedule, part, objective):
    costs = {"path_kl_nats": part, "nelbo_nats": 3 + part, "objective": objective}
    return {"schedule": schedule, "light_fraction": part, "saved_flops": part * 2 / 3, **costs}


def profile_rows():
    parts = [
        {
            "kind": "part",
            "model": model,
            "sampler": way,
            "part": part,
            "share": share,
            "speedup_bound": 5.0,
        }
        for model in ("12b", "4b")
        for way in ("stepimp", "published")
        for part, share in (("body", 0.8), ("projection", 0.1), ("draw", 0.06), ("rest", 0.04))
    ]
    savings = [
        {
            "kind": "saving",
            "schedule": text,
            "light_fraction": x,
            "saved_flops": x * 2 / 3,
            "saved_flops_exact": x * 0.7,
        }
        | {
            "saved_seconds" + end: x * 0.6 + add
            for end, add in (("", 0), ("_low", -0.02), ("_high", 0.02))
        }
        for text, x in (("H10", 0.0), ("L3,H5,L2", 0.5), ("L10", 1.0), ("L1,H9", 0.1))
    ]
    return parts + savings


def write(folder, kind, name="0", **parts):
    """A results document written by hand."""
    extra, params = {}, PARAMS
    if kind == "recommend":
        asked = {"by": "kl", "segments": 3, "save_flops": False, "budget": 0.4, "steps": 10}
        rows, params = schedule_rows(), PARAMS | asked
        line = [point(text, x, x) for text, x in (("H10", 0), ("L5,H5", 0.5), ("L10", 1))]
        sure = {
            "agreement": 1.0,
            "moves": [{"before": "4b", "after": "12b", "t": 0.7, "t_low": 0.6, "t_high": 0.8}],
        }
        extra = {
            "tradeoff": line,
            "curves": curve_rows("kl"),
            "curve_params": PARAMS,
            "boundaries": sure,
        }
    elif kind == "profile":
        run_on = dict(
            schedule="L1,H9",
            light="4b",
            steps=10,
            length=8,
            samples=2,
            batch_size=2,
            dtype="float32",
            repeats=3,
        )
        rows, params = profile_rows(), PARAMS | run_on
    else:
        rows = curve_rows(kind)
    document = {
        "schema": "stepimp/1",
        "command": kind,
        "params": params,
        "blocks": BLOCKS,
        "rows": rows,
        **extra,
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{kind}-{name}.json").write_text(
        json.dumps(document | {"provenance": {"version": "9.8", "device": "cpu"}} | parts)
    )


FOUR = ("loss", "kl", "recommend", "profile")
COMPARED = {
    "light_fractions": fractions(),
    "unconditional": comparison(),
    "light_sizes": sizes(),
    "prefix_256": comparison(prefix_length=32),
    "prefix_128": comparison(prefix_length=16),
    "lm1b": comparison(family="code"),
    "search": search([0, 0.2, 0.5, 0.5, 0.2, 0]),
}
NAMES = [*FIGURES, *TABLES, "claims"]


def write_all(folder):
    for kind in FOUR:
        write(folder, kind)
    for need, one in COMPARED.items():
        write_document(folder, one, need)


def run(results, out, *options):
    return CliRunner().invoke(
        main, ["figures", "--results", str(results), "--out", str(out), *options]
    )


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are laid out but not written, which takes most of the time."""

    def save(figure, folder, name):
        figure.draw_without_rendering()
        return [folder / f"{name}.png"]

    monkeypatch.setattr(style, "save", save)


def test_everything_is_made_once_all_results_are_there(tmp_path, unsaved):
    write_all(tmp_path / "results")
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    folder = tmp_path / "figures"
    assert lines[:17] == [f"{name}: {folder / name}.png" for name in FIGURES]
    assert lines[17:24] == [
        f"{name}: {', '.join(f'{folder / name}.{kind}' for kind in ('md', 'csv', 'tex'))}"
        for name in [*TABLES, "claims"]
    ]
    assert lines[24] == f"report: {folder / 'report.html'}"
    assert [line.split(": ")[:2] for line in lines[25:]] == [
        [f"claim {k}", "reproduced"] for k in range(1, 6)
    ]
    tables = {f"{name}.{kind}" for name in [*TABLES, "claims"] for kind in ("md", "csv", "tex")}
    assert {file.name for file in folder.iterdir()} == tables | {"report.html"}
    page = (folder / "report.html").read_text("utf-8")
    assert (
        all(f'id="{name}"' in page for name in [*NAMES, "explorer", "provenance"])
        and 'id="missing"' not in page
    )
    assert page.count("✓ reproduced") == 5 and page.count("<details>") == len(FOUR) + len(COMPARED)


def test_every_number_of_the_paper_can_be_asked_for_by_name(tmp_path, unsaved):
    assert command.NAMES == NAMES
    assert {f"figure{n}" for n in range(1, 15)} | {f"table{n}" for n in range(1, 7)} <= set(NAMES)
    write_all(tmp_path / "results")
    for asked in [*map(str, range(1, 15)), *NAMES[14:]]:
        told = run(tmp_path / "results", tmp_path / "figures", "--only", asked, "--json")
        name = f"figure{asked}" if asked.isdigit() else asked
        assert told.exit_code == 0 and list(json.loads(told.stdout)["written"]) == [name]
    told = run(tmp_path / "results", tmp_path / "figures", "--only", "12, table3,5", "--json")
    assert list(json.loads(told.stdout)["written"]) == ["figure12", "table3", "figure5"]


@pytest.mark.parametrize("asked", ["15", "0", "table7", "", "5,,6", "figure"])
def test_what_is_no_figure_is_bad_usage(tmp_path, asked):
    result = run(tmp_path, tmp_path / "figures", "--only", asked)
    assert result.exit_code == 2 and "1 to 14" in result.stderr and "table1" in result.stderr


def test_asking_only_for_what_has_no_results_fails_and_names_the_command(tmp_path):
    write(tmp_path / "results", "loss")
    result = run(tmp_path / "results", tmp_path / "figures", "--only", "3,table1")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    three, one = result.stdout.splitlines()
    assert three.startswith("figure3: ") and three.endswith("run: stepimp search")
    assert one.startswith("table1: ") and "stepimp compare --schedule L125,H750,L125" in one


def test_each_family_has_its_own_figures(tmp_path, unsaved):
    write_document(tmp_path / "results", comparison(family=str(tmp_path / "mine"), samples=7))
    here = [tmp_path / "results", tmp_path / "figures", "--only", "table5"]
    assert run(*here).exit_code == 1
    assert run(*here, "--family", tmp_path / "mine").exit_code == 0
    assert "7 samples per schedule" in (tmp_path / "figures" / "table5.md").read_text()


def panel(name, **documents):
    """The axes of a figure drawn from COMPARED, or from documents in their place."""
    needs, build = FIGURES[name]
    with style.house():
        return build(*((COMPARED | documents)[need] for need in needs)).axes


@pytest.mark.parametrize(
    ("name", "heavy", "sandwich"),
    [
        ("figure1", 42.9, 44.3),
        ("figure9", 39.3, 40.9),
        ("figure11", 44.9, 46.3),
        ("figure13", 188.8, 210.5),
    ],
)
def test_a_comparison_shows_the_change_against_all_heavy_beside_the_published_one(
    name, heavy, sandwich
):
    strips, bars = panel(name)
    assert [text.get_text() for text in strips.get_yticklabels()] == list(HAND_CRAFTED)
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(
        list(AS_PUBLISHED.values()), abs=0.002
    )
    published = [line.get_xdata()[0] for line in bars.lines if line.get_label() == "paper"]
    assert (
        published[5] == pytest.approx(math.log(sandwich / heavy))
        and published[6] == 0
        and len(published) == 7
    )
    (reach,) = [
        line.get_xdata()
        for line in bars.lines
        if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 5.2
    ]
    assert reach[0] < published[5] < reach[1], "the interval that the printed ones make"
    assert (
        "nats per token" in bars.get_xlabel()
        and "against all-heavy" in bars.figure.get_supxlabel().replace("\n", " ")
    )


def test_a_missing_interval_leaves_the_bar(tmp_path):
    own = comparison()
    for row in own["rows"]:
        row |= dict.fromkeys(name for name in row if name.endswith(("_low", "_high")))
    assert len(panel("figure1", unconditional=own)[1].patches) == 7


def test_figure7_has_a_bar_in_the_colour_of_each_light_model():
    (ax,) = panel("figure7")
    assert [text.get_text().split()[0] for text in ax.get_yticklabels()] == ["4b", "8b"]
    colours = style.colours(COMPARED["light_sizes"])
    assert [bar.get_facecolor() for bar in ax.patches] == [
        tuple(colours[name]) for name in ("4b", "8b")
    ]
    published = [line.get_xdata()[0] for line in ax.lines if line.get_label() == "paper"]
    assert published == pytest.approx([math.log(44.31 / 42.85), math.log(43.45 / 42.85)])


def test_figure8_has_quality_and_savings_by_fraction():
    quality, savings = panel("figure8")
    assert [text.get_text() for text in quality.get_yticklabels()] == [
        "0%",
        "25%",
        "50%",
        "75%",
        "100%",
    ]
    assert len([line for line in quality.lines if line.get_label() == "paper"]) == 3, (
        "0, 50 and 100% are published"
    )
    measured = {line.get_label(): line for line in savings.lines}["seconds, measured"]
    assert measured.get_xydata() == pytest.approx(
        np.array([[x, x / 3] for x in (0, 0.25, 0.5, 0.75, 1)])
    )


def test_seconds_that_were_not_measured_in_one_run_leave_a_gap():
    own = fractions()
    own["rows"][1] |= dict.fromkeys(("saved_seconds", "saved_seconds_low", "saved_seconds_high"))
    measured = {line.get_label(): line for line in panel("figure8", light_fractions=own)[1].lines}[
        "seconds, measured"
    ]
    assert np.isnan(measured.get_ydata()).tolist() == [False, True, False, False, False]


def test_figure14_is_about_entropy():
    own = comparison(entropy={"sandwich": -0.04})
    bars = panel("figure14", unconditional=own)[1]
    assert (
        bars.patches[5].get_width() == pytest.approx(-0.04, abs=0.002)
        and "entropy" in bars.get_xlabel()
    )
    published = [line.get_xdata()[0] for line in bars.lines if line.get_label() == "paper"]
    assert published == pytest.approx([-0.02, -0.01, 0.01, 0, 0, -0.02, 0])


def test_figure2_has_the_best_and_the_worst_schedules():
    best, worst = panel("figure2")
    assert [text.get_text() for text in best.get_yticklabels()] == [str(k) for k in range(1, 8)]
    assert [text.get_text() for text in worst.get_yticklabels()] == [str(k) for k in range(9, 16)]
    first = [letter == "L" for letter in COMPARED["search"]["rows"][0]["segments"]]
    light = tuple(style.colours(COMPARED["search"])["4b"])
    assert [bar.get_facecolor() == light for bar in best.patches[:6]] == first


def test_figure3_counts_light_segments_at_both_ends_of_the_ranking():
    own = COMPARED["search"]
    for ax, column in zip(panel("figure3"), ("light_in_top", "light_in_bottom")):
        assert [bar.get_height() for bar in ax.patches] == [row[column] for row in own["influence"]]
        assert list(ax.lines[-1].get_ydata()) == pytest.approx([2 / 6] * 2), "by chance"
        for bar, line in zip(ax.patches, ax.lines):
            assert line.get_ydata()[0] <= bar.get_height() <= line.get_ydata()[1], (
                "resamples of the same ranking"
            )


def test_figure10_shows_the_influence_and_figure6_the_correlation():
    (ax,) = panel("figure10")
    assert [bar.get_height() for bar in ax.patches] == [0, 0.2, 0.5, 0.5, 0.2, 0]
    (ax,) = panel("figure6")
    assert (
        len(ax.lines[0].get_xdata()) == 15 and ax.get_title("left") == "Spearman 0.90 [0.80, 0.95]"
    )


@pytest.mark.parametrize("name", [name for name in FIGURES if FIGURES[name][0][0] in COMPARED])
def test_the_footnote_has_samples_interval_and_version_and_no_path(name):
    figure = panel(name)[0].figure
    text = figure.get_supxlabel().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")
    assert "samples per schedule of 128 tokens" in text and "95%" in text + figure.axes[
        0
    ].get_title("left")
    assert "stepimp 9.8" in text and "/" not in text


@pytest.mark.parametrize("name", [name for name in FIGURES if FIGURES[name][0][0] in COMPARED])
def test_no_two_texts_overlap(name):
    with style.house():
        figure = panel(name)[0].figure
        figure.draw_without_rendering()
        for ax in figure.axes:
            texts = [
                *ax.texts,
                *ax.get_xticklabels(),
                *ax.get_yticklabels(),
                ax.xaxis.label,
                ax.yaxis.label,
            ]
            boxes = [
                text.get_window_extent() for text in texts if text.get_text() and text.get_visible()
            ]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_what_is_missing_is_named_with_its_command(tmp_path):
    write(tmp_path / "results", "loss")
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        "claims.csv",
        "claims.md",
        "claims.tex",
        "figure4.pdf",
        "figure4.png",
        "figure4.svg",
        "report.html",
    ]
    lines = dict(text.split(": ", 1) for text in result.output.splitlines())
    assert set(lines) == {*NAMES, "report", *(f"claim {k}" for k in range(1, 6))}
    assert (
        "stepimp kl --heavy 12b --light 4b" in lines["figure5"]
        and "--baseline 12b_seed2" in lines["figure5"]
    )
    assert lines["figure1"].endswith("run: stepimp compare") and lines["table4"].endswith(
        "compare --family code"
    )
    assert lines["claim 2"] == "undecided: No results yet. Run: stepimp compare"
    assert "stepimp recommend" in lines["tradeoff"]


def test_json_is_all_there_is_on_stdout(tmp_path, unsaved):
    write(tmp_path / "results", "loss")
    told = json.loads(run(tmp_path / "results", tmp_path / "figures", "--json").stdout)
    assert told["written"]["figure4"] == [str(tmp_path / "figures" / "figure4.png")]
    assert set(told["written"]) == {"figure4", "claims", "report"} and set(told["missing"]) == {
        *NAMES
    } - {"figure4", "claims"}
    assert [one["verdict"] for one in told["claims"]][1:] == ["undecided"] * 4


def test_the_newest_results_are_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, folder, name: drawn.append(figure) or [])
    for version in ("old", "new"):
        write(tmp_path, "loss", version, provenance={"version": version})
    os.utime(tmp_path / "loss-old.json", (1, 1))
    run(tmp_path, tmp_path / "figures", "--only", "4")
    assert "stepimp new." in drawn[0].get_supxlabel()


@pytest.mark.parametrize("place", ["empty", "absent"])
def test_no_results_is_one_line_and_writes_nothing(tmp_path, place):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / place, tmp_path / "figures")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and "stepimp kl" in result.stderr
    assert not (tmp_path / "figures").exists()


def test_an_incomplete_document_is_named_without_a_traceback(tmp_path):
    write(tmp_path / "results", "kl", rows=[])
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert "kl-0.json is incomplete" in result.stderr


def measurements():
    """Two models and a baseline whose KL is largest in the middle, as the curves module holds
    them.
    """
    from stepimp.curves.measure import Measurements

    times = np.arange(1, 5) / 4
    draw = np.random.default_rng(0)
    masked = np.full((4, 30, 1), 8.0)

    def sums(height):
        return masked * (
            height * np.sin(np.pi * times)[:, None, None] + 0.1 + 0.01 * draw.random((4, 30, 1))
        )

    ce = {name: sums(height) for name, height in (("12b", 1.0), ("4b", 1.5), ("12b_seed2", 1.0))}
    kl = {"4b": sums(0.5), "12b_seed2": sums(0.1)}
    return Measurements("12b", ("4b",), "12b_seed2", 16, times, masked, ce, kl, sums(1.0))


def test_what_the_library_computes_can_be_built(tmp_path):
    from stepimp.curves.tables import kl_rows, loss_rows
    from stepimp.schedules.recommend import recommend

    found, results = measurements(), tmp_path / "results"
    write(results, "kl", rows=kl_rows(found, 0))
    write(results, "loss", rows=loss_rows(found, 0))
    advice = recommend(found, {"12b": 12, "4b": 4}, 0.25, steps=20)
    write(results, "recommend", **advice, curves=kl_rows(found, 0))
    for kinds, build in (
        figure for figure in FIGURES.values() if set(figure[0]) <= {"loss", "kl", "recommend"}
    ):
        figure = build(*(newest(results, kind) for kind in kinds))
        assert figure.axes and "sequences of docs" in figure.get_supxlabel().replace("\n", " ")


def test_the_profile_stacks_its_parts_and_keeps_to_the_sandwiches(tmp_path):
    write(tmp_path, "profile")
    breakdown, savings = FIGURES["profile"][1](newest(tmp_path, "profile")).axes
    assert [label.get_text() for label in breakdown.get_yticklabels()][0] == "12b, stepimp"
    bars = {
        (round(bar.get_y(), 2), round(bar.get_x(), 2)): bar.get_width() for bar in breakdown.patches
    }
    assert len(bars) == 16 and sum(bars.values()) == pytest.approx(4)
    measured = {line.get_label(): line for line in savings.lines}["seconds, measured"]
    assert list(measured.get_xdata()) == [0, 0.5, 1]  # the extra schedule is no point of the line
    paper = {line.get_label(): line for line in savings.lines}["paper: seconds"]
    assert max(paper.get_ydata()) == pytest.approx(0.283)


def test_the_report_holds_what_was_drawn_and_names_what_was_not(tmp_path, unsaved):
    write(tmp_path / "results", "kl")
    assert run(tmp_path / "results", tmp_path / "figures", "--only", "5").exit_code == 0
    assert not (tmp_path / "figures" / "report.html").exists(), "it is a page of everything"
    assert run(tmp_path / "results", tmp_path / "figures").exit_code == 0
    page = (tmp_path / "figures" / "report.html").read_text("utf-8")
    assert [name for name in FIGURES if f'<figure id="{name}">' in page] == ["figure5", "figure12"]
    assert 'id="explorer">Explorer</span>' in page and "stepimp recommend --budget 0.25" in page


def test_what_the_commands_write_can_be_drawn(
    tmp_path, unsaved, tiny_family, tiny_text, monkeypatch
):
    """Comparisons and a search as `compare` and `search` write them, and not as this file thinks
    they do.
    """
    monkeypatch.setenv("STEPIMP_FAMILY", str(tiny_family))
    monkeypatch.setenv("STEPIMP_RESULTS", str(tmp_path))
    models = ["--heavy", "2b", "--light", "1b"]
    sized = [
        "--steps",
        "8",
        "--samples",
        "3",
        "--batch-size",
        "2",
        "--data",
        str(tiny_text),
        *models,
    ]
    compared = ["compare", *sized, "--length", "16"]
    coarse = ["--segments", "4", "--light-segments", "2", "--steps", "8", "--samples", "3"]
    for arguments in (
        compared,
        [*compared, "--prefix-length", "4"],
        [*compared, "--prefix-length", "2"],
        [*compared, "--fractions", "0:1:0.25"],
        ["kl", *models, "--data", str(tiny_text), "--sequences", "4"],
        ["search", *models, *coarse],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    names = "1,2,3,5,6,8,9,10,11,12,14,table2,table3,table5,table6,claims"
    result = run(tmp_path, tmp_path / "figures", "--only", names, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0 and len(told["written"]) == 16 and not told["missing"]
    assert [one["verdict"] == "undecided" and bool(one["needs"]) for one in told["claims"]][3], (
        "there is no LM1B role"
    )


def caption(figure):
    return figure.get_supxlabel().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("name", [*FIGURES, *TABLES])
def test_a_caption_has_it_all_and_nothing_twice(tmp_path, name):
    write_all(tmp_path)
    found = find_documents(tmp_path)
    if name in TABLES:
        table = TABLES[name][1](found)
        told = f"{table.title}. {table.note}"
    else:
        with style.house():
            figure = FIGURES[name][1](*(found[need] for need in FIGURES[name][0]))
            figure.draw_without_rendering()
        assert figure._supxlabel.get_window_extent().x1 <= figure.bbox.x1, (
            "it runs out of the figure"
        )
        told = caption(figure)
    parts = [part.strip() for part in re.split(r"[.,;:](?= |$)", told) if part.strip()]
    assert len(parts) == len(set(parts)), "something is said twice"
    assert "amily docs" in told or "Family code" in told
    assert re.search(r"\d (samples|sequences) ", told) and "paper" in told
    assert "95%" in told or name in ("tradeoff", "profile")
