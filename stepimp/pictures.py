"""Schedules and curves as small inline SVG pictures, for the `_repr_html_` of notebooks."""

import math
import re
from collections.abc import Iterable
from html import escape

WIDTH = 620  # of every picture, in pixels
SHADES = ("#9ec9d1", "#6fadb8", "#438f9d", "#2a7389", "#1d566b")  # the deeper the model, the darker
DARK = SHADES[2:]  # labels on these are white
TEXT = 'font-family="sans-serif" font-size="11" fill="currentColor"'
CHARACTER = 6.6  # width of a character of this text, in pixels
Point = tuple[float, float, float, float]
"""t, a statistic at t, and the ends of its 95% interval; NaN where there is none."""


def by_depth(models) -> list[str]:
    """Models in the order of the first number in their names (4b before 12b), then by name."""

    def key(model: str) -> tuple[float, str]:
        number = re.search(r"\d+", model)
        return (int(number[0]) if number else math.inf, model)

    return sorted(set(models), key=key)


def shades(models) -> dict[str, str]:
    """model -> colour, the same for the same set of models."""
    ordered = by_depth(models)
    step = (len(SHADES) - 1) / max(1, len(ordered) - 1)
    return {model: SHADES[round(step * i)] for i, model in enumerate(ordered)}


def text(x: float, y: float, content: str, anchor: str = "start", more: str = TEXT) -> str:
    """An SVG text element."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(content)}</text>'


def picture(height: float, label: str, *parts: str) -> str:
    """An SVG element of the given height. label: what a screen reader reads out."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def strip(
    segments: Iterable[tuple[str, int]],
    label: str,
    unit: str = "steps",
    ends: tuple[str, str] = ("t = 1", "t = 0"),
) -> str:
    """A schedule as a bar from the start of sampling to its end: a piece per segment, with its
    model and size where they fit.

    segments: (model, size). label: the schedule in its notation. ends: what is at the two ends.
    """
    segments = list(segments)
    colour = shades(model for model, _ in segments)
    total, parts, x = sum(size for _, size in segments), [], 0.0
    for model, size in segments:
        width, words = WIDTH * size / total, f"{model}, {size} {unit}"
        parts.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="24" fill="{colour[model]}" '
            f'stroke="white"><title>{escape(words)}</title></rect>'
        )
        if width > CHARACTER * len(words):
            ink = "white" if colour[model] in DARK else "black"
            on_piece = TEXT.replace("currentColor", ink)
            parts.append(text(x + width / 2, 16, words, "middle", on_piece))
        x += width
    start, end = text(0, 38, ends[0]), text(WIDTH, 38, ends[1], "end")
    return picture(42, label, *parts, start, end, text(WIDTH / 2, 38, label, "middle"))


LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 56, 70, 24, 24, 210  # margins and height of a plot, in pixels


def plot(curves: dict[str, list[Point]], title: str) -> str:
    """Curves over t with their bands, t = 1 at the left; each is named at its right end.

    curves: model -> points in any order; those without a value are left out.
    """
    drawn = {
        model: sorted((point for point in points if math.isfinite(point[1])), reverse=True)
        for model, points in curves.items()
    }
    values = [v for points in drawn.values() for point in points for v in point[1:] if v == v]
    low, high = min([0.0, *values]), max([0.0, *values]) or 1.0

    def x(t: float) -> float:
        return LEFT + (1 - t) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [text(0, 12, title)]
    for value in (0.0, high / 2, high):
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
        )
        parts.append(text(LEFT - 6, y(value) + 4, f"{value:.3g}", "end"))
    for t in (1, 0.75, 0.5, 0.25, 0):
        parts.append(text(x(t), HEIGHT - 6, f"t = {t:g}" if t == 1 else f"{t:g}", "middle"))
    colour = shades(drawn)
    for model, points in drawn.items():
        if points:
            parts += curve(model, points, colour[model], x, y)
    return picture(HEIGHT, f"{title}: {', '.join(drawn)}", *parts)


def curve(model: str, points: list[Point], colour: str, x, y) -> list[str]:
    """The band, the line and the name of one curve. x, y: from values to pixels."""
    banded = [point for point in points if math.isfinite(point[2]) and math.isfinite(point[3])]
    edge = [(x(t), y(high)) for t, _, _, high in banded]
    edge += [(x(t), y(low)) for t, _, low, _ in reversed(banded)]
    line = [(x(t), y(value)) for t, value, _, _ in points]
    last_x, last_y = line[-1]
    return [
        f'<polygon points="{joined(edge)}" fill="{colour}" fill-opacity="0.25"/>' if edge else "",
        f'<polyline points="{joined(line)}" fill="none" stroke="{colour}" stroke-width="2"/>',
        text(last_x + 6, last_y + 4, model),
    ]


def joined(points: list[tuple[float, float]]) -> str:
    """Points as SVG attributes have them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
