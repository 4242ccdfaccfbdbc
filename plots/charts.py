"""Charts of the report, as HTML and SVG.

They are stretched to the page, so that their labels, which are text of the page, stay legible.
"""

import math
from html import escape

from matplotlib.ticker import MaxNLocator

from stepimp.intervals import Estimate

from .markup import tag


def ticks(rows: list[dict], column: str) -> list[float]:
    """Round values from below a column and its band to above them."""
    measured = [part for row in rows for part in Estimate.of(row, column) if math.isfinite(part)]
    return [float(tick) for tick in MaxNLocator(5).tick_values(min(measured), max(measured))]


def place(value: float, scale) -> float:
    """Where a value lies between the first and the last of a scale, in percent."""
    first, last = scale[0], scale[-1]
    return round(100 * (value - first) / (last - first), 2) if last != first else 0.0


def chart(
    lines: list, columns: tuple, across: tuple, marks: list, labels: tuple, inside="", below=""
) -> str:
    """Lines with their bands between labelled axes.

    lines: (rows, colour); columns: of x and y; across: x at the left and at the right; marks: (x,
    text) of the x axis; labels: of the y axis, which is above, and of the x axis; inside,
    below: more HTML in and under the area.
    """
    x, y = columns
    along = ticks([row for rows, _ in lines for row in rows], y)
    up = [(100 - place(value, along), f"{value:g}") for value in along]
    grid = "".join(
        tag("path", class_="zero" if text == "0" else "grid", d=f"M0 {top:.2f}H100")
        for top, text in up
    )
    drawn = "".join(line(rows, x, y, across, along, colour) for rows, colour in lines)
    area = tag(
        "svg", grid + drawn, viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true"
    )
    sides = "".join(tag("span", text, style=f"top:{top:.2f}%") for top, text in up)
    feet = "".join(
        tag("span", text, style=f"left:{place(value, across):.2f}%") for value, text in marks
    )
    return tag(
        "div",
        "\n".join(
            [
                tag("p", escape(labels[0]), class_="over"),
                tag("div", sides, class_="sides", aria_hidden="true"),
                tag("div", area + inside, class_="area"),
                below,
                tag("div", feet, class_="feet", aria_hidden="true"),
                tag("p", escape(labels[1]), class_="under"),
            ]
        ),
        class_="chart",
    )


def line(rows: list[dict], x: str, y: str, across: tuple, along: list, colour: str) -> str:
    """A band and a line in percent of the area, as far as they were measured."""

    def points(column):
        return [
            f"{place(row[x], across):.2f} {100 - place(row[column], along):.2f}"
            for row in rows
            if row.get(column) is not None
        ]

    band = points(f"{y}_high") + points(f"{y}_low")[::-1]
    shape = tag("path", d=f"M{'L'.join(band)}Z", fill=colour, class_="band") if band else ""
    return shape + tag("path", d=f"M{'L'.join(points(y))}", stroke=colour, class_="line")
