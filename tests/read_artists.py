"""What a drawn axes shows, read from its artists."""

from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer


def bars_of(ax, horizontal=True):
    """(label, value, colour) of each bar, in the order of the axis."""
    axis = ax.yaxis if horizontal else ax.xaxis
    labels = {
        round(place, 6): text.get_text()
        for place, text in zip(axis.get_ticklocs(), axis.get_ticklabels())
    }
    shown = []
    for container in ax.containers:
        for bar in container.patches if isinstance(container, BarContainer) else ():
            start, width = (
                (bar.get_y(), bar.get_height()) if horizontal else (bar.get_x(), bar.get_width())
            )
            place = round(start + width / 2, 6)
            value = bar.get_width() if horizontal else bar.get_height()
            shown.append((place, (labels[place], value, to_hex(bar.get_facecolor()))))
    return [bar for _, bar in sorted(shown)]


def intervals_of(ax, horizontal=True):
    """(row, low, high) of each drawn interval, in the order they were drawn."""
    along, across = (0, 1) if horizontal else (1, 0)
    return [
        (round(piece[0, across]), *sorted(piece[:, along]))
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for piece in collection.get_segments()
    ]


def words_of(figure):
    """All the words of a figure, in one line."""
    parts = (figure.get_suptitle(), figure.get_supxlabel())
    return " ".join(part.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ") for part in parts)
