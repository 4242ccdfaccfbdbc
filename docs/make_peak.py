"""Writes the table of docs/peak.md and its figures from the curves in docs/peak, one file for each
moment of the training, and wide.json of the wider models: python docs/make_peak.py.

A file is a document of `stepimp kl` without its measurements, which are large:
python docs/make_peak.py DOCUMENT NAME keeps one. NAME is the bytes of training in millions, such as
049, or 049-decayed after the learning rate has fallen to 0; or wide.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import seaborn
from make_gallery import save_small
from matplotlib.figure import Figure

from stepimp.intervals import Estimate
from stepimp.paper.peak import values
from stepimp.plots.curve import curve, mark_paper_peak, time_axis
from stepimp.plots.notes import annotate
from stepimp.plots.style import WIDE, house

HERE = Path(__file__).parent
PAGE, CURVES = HERE / "peak.md", HERE / "peak"
GALLERY = HERE / "gallery"
PLACE = re.compile(r"(<!-- shapes -->\n).*?(<!-- end -->)", re.DOTALL)
PANELS = {
    "loss_diff_nats": "Loss difference",
    "relative_kl_nats": "Relative KL",
}
ENDS = (0.05, 0.95)


def keep(document: str, name: str):
    """Copies a document without its measurements and without the places of one machine."""
    content = json.loads(Path(document).read_bytes())
    content.pop("measurements", None)
    CURVES.mkdir(exist_ok=True)
    family = "runs/wide" if name == "wide" else "runs/bytes"
    (CURVES / f"{name}.json").write_text(portable(json.dumps(content), family) + "\n")


def portable(text: str, family: str) -> str:
    """With the family's folder as on the page, and without the folder of the results."""
    return re.sub(r" --out [^\s\"]+", "", re.sub(r"[^\s\"]*\bruns/\w+", family, text))


def measurements() -> list[tuple[str, dict]]:
    """(bytes of training in millions, document), in the order of training."""
    return [
        (re.sub("^0+", "", file.stem).replace("-", ", "), json.loads(file.read_bytes()))
        for file in sorted(CURVES.glob("[0-9]*.json"))
    ]


def interval(row: dict, column: str) -> str:
    estimate = Estimate.of(row, column)
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def shapes_table() -> str:
    """Each curve at both ends and where it is greatest."""
    columns = ["bytes a member, millions", "NELBO of 4b", "of 12b", "cross-entropy of 4b at 0.05"]
    for name in ("loss difference", "relative KL"):
        columns += [f"{name} at t = 0.05", "its maximum", "at 0.95"]
    lines = [columns, ["---"] * len(columns)]
    for trained, document in measurements():
        rows = document["rows"]
        nelbo = [f"{member['nelbo_nats']:.2f}" for member in document["nelbo"][:2]]
        first, last = (min(rows, key=lambda row: abs(row["t"] - end)) for end in ENDS)
        cells = [trained, *nelbo, f"{first['ce_nats']:.2f}"]
        for column in PANELS:
            top = max(rows, key=lambda row: row[column])
            cells += [
                interval(first, column),
                f"{interval(top, column)} at {top['t']:.2f}",
                interval(last, column),
            ]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def over_training() -> Figure:
    """Both curves over t, one line for each moment of the training."""
    measured = measurements()
    shades = seaborn.color_palette("crest", len(measured))
    drawn = Figure(figsize=(WIDE, 3.4))
    for ax, (column, title) in zip(drawn.subplots(1, 2), PANELS.items()):
        mark_paper_peak(ax)
        for k, (trained, document) in enumerate(measured):
            last = k == len(measured) - 1
            curve(ax, document["rows"], column, band=last, color=shades[k], label=f"{trained} MB")
        complete(ax, f"{title} of 4b", column, measured[-1][1]["rows"])
    annotate(
        drawn,
        "How the importance of a step appears in training",
        "200 held-out sequences, 1000 after 49 million bytes. Band: 95%, bootstrap over "
        "sequences, of the last curve. Shaded: where the paper finds the peak. The first curves "
        "leave the panels at small t.",
    )
    return drawn


def of_wider_models() -> Figure:
    """Both curves over t, one line for each depth."""
    rows, params = (
        json.loads((CURVES / "wide.json").read_bytes())[key] for key in ("rows", "params")
    )
    lights = params["lights"]
    drawn = Figure(figsize=(WIDE, 3.4))
    for ax, (column, title) in zip(drawn.subplots(1, 2), PANELS.items()):
        mark_paper_peak(ax)
        for light, shade in zip(lights, seaborn.color_palette("crest", len(lights))):
            own = [row for row in rows if row["model"] == light]
            curve(ax, own, column, band=True, color=shade, label=light)
        complete(ax, title, column, rows)
    annotate(
        drawn,
        "Step importance of models of width 128",
        f"{params['sequences']} held-out sequences of {params['data']}, heavy {params['heavy']}. "
        "Bands: 95%, bootstrap over sequences. Shaded: where the paper finds the peak.",
    )
    return drawn


def complete(ax, title: str, column: str, rows: list[dict]):
    """Labels a panel, with room for the bands of its rows."""
    low, high = (values(rows, f"{column}_{end}") for end in ("low", "high"))
    limits = (min(0, np.nanmin(low)), 1.25 * np.nanmax(high))
    ax.set(title=title, ylabel="nats per masked byte", ylim=limits)
    time_axis(ax)


def main():
    with house():
        save_small(over_training(), GALLERY / "peak.png")
        save_small(of_wider_models(), GALLERY / "wide.png")
    page = PAGE.read_text("utf-8")
    PAGE.write_text(PLACE.sub(lambda place: f"{place[1]}\n{shapes_table()}\n\n{place[2]}", page))


if __name__ == "__main__":
    if sys.argv[1:]:
        keep(*sys.argv[1:])
    main()
