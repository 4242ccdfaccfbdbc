"""`stepimp figures` on results files written by hand, and on what the library itself writes."""

import json
import math
import os

import numpy as np
import pytest
from click.testing import CliRunner

from stepimp.commands import main
from stepimp.plots import style
from stepimp.plots.figures import FIGURES
from stepimp.results import newest

PARAMS = {"heavy": "12b", "lights": ["4b"], "baseline": "12b_seed2", "data": "docs", "inputs": "text"}
BLOCKS = {"12b": 12, "4b": 4, "12b_seed2": 12}
COLUMNS = {
    "loss": ["loss_abs_diff_nats", "loss_diff_nats", "ce_nats", "ce_heavy_nats"],
    "kl": ["kl_nats", "baseline_kl_nats", "relative_kl_nats"],
}
SCHEDULES = {"recommended": ("L3,H6,L1", 0.4, 0.2), "sandwich": ("L2,H6,L2", 0.4, 0.3), "all-heavy": ("H10", 0, 0.0),
             "all-light": ("L10", 1, 1.0)}  # fmt: skip


def curve_rows(kind):
    rows = []
    for t in (0.25, 0.5, 0.75, 1.0):
        height = math.sin(math.pi * t)
        bands = {c + end: height + add for c in COLUMNS[kind] for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))}
        rows.append({"t": t, "model": "4b", "sequences": 9, **bands})
    return rows


def schedule_rows():
    return [
        {"name": name, "schedule": text, "light_fraction": part, "saved_flops": part * 2 / 3, "objective": objective}
        for name, (text, part, objective) in SCHEDULES.items()
    ]


def profile_rows():
    parts = [
        {"kind": "part", "model": model, "sampler": way, "part": part, "share": share, "speedup_bound": 5.0}
        for model in ("12b", "4b")
        for way in ("stepimp", "published")
        for part, share in (("body", 0.8), ("projection", 0.1), ("draw", 0.06), ("rest", 0.04))
    ]
    savings = [
        {"kind": "saving", "schedule": text, "light_fraction": x, "saved_flops": x * 2 / 3, "saved_flops_exact": x * 0.7}
        | {"saved_seconds" + end: x * 0.6 + add for end, add in (("", 0), ("_low", -0.02), ("_high", 0.02))}
        for text, x in (("H10", 0.0), ("L3,H5,L2", 0.5), ("L10", 1.0), ("L1,H9", 0.1))
    ]
    return parts + savings


def write(folder, kind, name="0", **parts):
    """A results document written by hand."""
    extra, params = {}, PARAMS
    if kind == "recommend":
        rows, params = schedule_rows(), PARAMS | {"by": "kl", "segments": 3, "save_flops": False}
        line = [{"light_fraction": x, "saved_flops": x * 2 / 3, "objective": x} for x in (0, 0.5, 1)]
        extra = {"tradeoff": line, "curves": curve_rows("kl"), "curve_params": PARAMS}
    elif kind == "profile":
        run_on = dict(schedule="L1,H9", light="4b", steps=10, length=8, samples=2, batch_size=2, dtype="float32", repeats=3)
        rows, params = profile_rows(), PARAMS | run_on
    else:
        rows = curve_rows(kind)
    document = {"schema": "stepimp/1", "command": kind, "params": params, "blocks": BLOCKS, "rows": rows, **extra}
    folder.mkdir(exist_ok=True)
    (folder / f"{kind}-{name}.json").write_text(json.dumps(document | {"provenance": {"version": "9.8", "device": "cpu"}} | parts))


def run(results, out, *options):
    return CliRunner().invoke(main, ["figures", "--results", str(results), "--out", str(out), *options])


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are laid out but not written, which takes most of the time."""

    def save(figure, folder, name):
        figure.draw_without_rendering()
        return [folder / f"{name}.png"]

    monkeypatch.setattr(style, "save", save)


def test_every_figure_is_drawn_once_all_results_are_there(tmp_path, unsaved):
    for kind in ("loss", "kl", "recommend", "profile"):
        write(tmp_path / "results", kind)
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    names = ["figure4", "figure5", "figure12", "recommended", "tradeoff", "profile"]
    assert result.output.splitlines() == [f"{name}: {tmp_path / 'figures' / name}.png" for name in names]


def test_what_is_missing_is_named_with_its_command(tmp_path):
    write(tmp_path / "results", "loss")
    result = run(tmp_path / "results", tmp_path / "figures")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == ["figure4.pdf", "figure4.png"]
    lines = dict(text.split(": ", 1) for text in result.output.splitlines())
    assert list(lines) == ["figure4", "figure5", "figure12", "recommended", "tradeoff", "profile"]
    assert "stepimp kl --heavy 12b --light 4b --baseline 12b_seed2" in lines["figure5"]
    assert "stepimp recommend" in lines["tradeoff"]


def test_json_is_all_there_is_on_stdout(tmp_path, unsaved):
    write(tmp_path / "results", "loss")
    told = json.loads(run(tmp_path / "results", tmp_path / "figures", "--json").stdout)
    assert told["written"] == {"figure4": [str(tmp_path / "figures" / "figure4.png")]}
    assert set(told["missing"]) == {"figure5", "figure12", "recommended", "tradeoff", "profile"}


def test_the_newest_results_are_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, folder, name: drawn.append(figure) or [])
    for version in ("old", "new"):
        write(tmp_path, "loss", version, provenance={"version": version})
    os.utime(tmp_path / "loss-old.json", (1, 1))
    run(tmp_path, tmp_path / "figures")
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
    """Two models and a baseline whose KL is largest in the middle, as the curves module holds them."""
    from stepimp.curves import Measurements

    times = np.arange(1, 5) / 4
    draw = np.random.default_rng(0)
    masked = np.full((4, 30, 1), 8.0)

    def sums(height):
        return masked * (height * np.sin(np.pi * times)[:, None, None] + 0.1 + 0.01 * draw.random((4, 30, 1)))

    ce = {name: sums(height) for name, height in (("12b", 1.0), ("4b", 1.5), ("12b_seed2", 1.0))}
    kl = {"4b": sums(0.5), "12b_seed2": sums(0.1)}
    return Measurements("12b", ("4b",), "12b_seed2", 16, times, masked, ce, kl, sums(1.0))


def test_what_the_library_computes_can_be_built(tmp_path):
    from stepimp.curves import kl_rows, loss_rows
    from stepimp.recommend import recommend

    found, results = measurements(), tmp_path / "results"
    write(results, "kl", rows=kl_rows(found, 0))
    write(results, "loss", rows=loss_rows(found, 0))
    advice = recommend(found, {"12b": 12, "4b": 4}, 0.25, steps=20)
    write(results, "recommend", **advice, curves=kl_rows(found, 0))
    for kinds, build in (figure for figure in FIGURES.values() if figure[0] != ("profile",)):
        figure = build(*(newest(results, kind) for kind in kinds))
        assert figure.axes and "sequences of docs" in figure.get_supxlabel().replace("\n", " ")


def test_the_profile_stacks_its_parts_and_keeps_to_the_sandwiches(tmp_path):
    write(tmp_path, "profile")
    breakdown, savings = FIGURES["profile"][1](newest(tmp_path, "profile")).axes
    assert [label.get_text() for label in breakdown.get_yticklabels()][0] == "12b, stepimp"
    bars = {(round(bar.get_y(), 2), round(bar.get_x(), 2)): bar.get_width() for bar in breakdown.patches}
    assert len(bars) == 16 and sum(bars.values()) == pytest.approx(4)
    measured = {line.get_label(): line for line in savings.lines}["seconds, measured"]
    assert list(measured.get_xdata()) == [0, 0.5, 1]  # the extra schedule is no point of the line
    paper = {line.get_label(): line for line in savings.lines}["paper: seconds"]
    assert max(paper.get_ydata()) == pytest.approx(0.283)
