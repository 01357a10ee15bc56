"""Figures in the project's style, drawn without a display and returned as the bytes of a PNG."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Theme:
    """The colours of a figure: background, text and lines."""

    paper: str
    ink: str
    muted: str
    line: str
    colour_map: str


LIGHT = Theme(paper="#ffffff", ink="#1c2126", muted="#5b636b", line="#d9dcdf", colour_map="Blues")
DARK = Theme(paper="#1a1e23", ink="#e9ebed", muted="#a3abb3", line="#383f47", colour_map="Blues_r")

# Ten colours distinguishable with any colour vision (Petroff 2021, arXiv:2107.02270); after ten, the marker changes.
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
MARKS = "os^DvPX"


@dataclass(frozen=True)
class Curve:
    """A panel of `loss_curves`: its title, its columns in the history, and whether they are shares from 0 to 1."""

    title: str
    columns: tuple[str, ...]
    share: bool = False


CURVES = (
    Curve("Loss", ("loss",)),
    Curve("Effective rank of the embedding", ("effective_rank",)),
    Curve("Evenness of class use (entropy)", ("class_entropy",), share=True),
    Curve("Share of the largest and smallest class", ("largest_class", "smallest_class"), share=True),
    Curve("New patches recognised", ("patch_accuracy",), share=True),
)
_DPI = 144


def cluster_marker(cluster: int) -> tuple[str, str]:
    """Return the colour and the matplotlib marker that represent a cluster everywhere.

    >>> cluster_marker(0), cluster_marker(10)
    (('#3f90da', 'o'), ('#3f90da', 's'))
    """
    return COLOURS[cluster % len(COLOURS)], MARKS[cluster // len(COLOURS) % len(MARKS)]


def save_png(png: bytes, path: str | Path) -> None:
    """Write a figure to `path`, completely or not at all; raise `UserError` if its name does not end in .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"The figure {str(path)!r} can only be written as PNG: end its name in .png.")
    with atomic_path(path) as partial:
        partial.write_bytes(png)


def contact_sheet(
    images: Images,
    columns: int,
    *,
    row_titles: Sequence[str] = (),
    captions: Sequence[str] = (),
    side: int = 72,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw images (n, H, W, C) in rows of `columns`, with a longer side of `side` pixels; return a PNG.

    Each of n `captions` is written in the corner of its image.
    """
    rows = -(-len(images) // columns)
    sheet = _Sheet(images.shape[1:3], rows, columns, side, row_titles=row_titles, theme=theme)
    for index, image in enumerate(images):
        sheet.put(image, *divmod(index, columns))
    sheet.captions = captions
    return sheet.png()


def views_sheet(
    originals: Images, views: Images, *, row_titles: Sequence[str] = (), side: int = 96, theme: Theme = LIGHT
) -> bytes:
    """Draw originals (n, H, W, C) on the left and the views (n, V, H', W', C) of each beside it; return a PNG."""
    titles = ["original", *(f"view {number + 1}" for number in range(views.shape[1]))]
    sheet = _Sheet(originals.shape[1:3], len(originals), len(titles), side, row_titles, titles, theme=theme)
    for row, (original, its_views) in enumerate(zip(originals, views, strict=True)):
        sheet.put(original, row, 0)
        for column, view in enumerate(its_views, start=1):
            sheet.put(view, row, column)
    return sheet.png()


class _Sheet:
    """A grid of pictures in exact pixels, with titles on the left and at the top."""

    def __init__(
        self,
        shape: tuple[int, ...],
        rows: int,
        columns: int,
        side: int,
        row_titles: Sequence[str] = (),
        column_titles: Sequence[str] = (),
        *,
        theme: Theme,
    ) -> None:
        self.cell = tuple(max(1, round(side * length / max(shape))) for length in shape)  # (height, width)
        self.gap = max(2, side // 18)
        self.row_titles, self.column_titles, self.theme = row_titles, column_titles, theme
        self.columns = columns
        self.captions: Sequence[str] = ()
        self.left = self.gap + min(240, max((8 * len(title) + 8 for title in row_titles), default=0))
        self.top = self.gap + (20 if column_titles else 0)
        height = self.top + rows * (self.cell[0] + self.gap)
        width = self.left + columns * (self.cell[1] + self.gap)
        self.pixels = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = [int(theme.paper[i : i + 2], 16) for i in (1, 3, 5)]

    def corner(self, row: int, column: int) -> tuple[int, int]:
        return self.top + row * (self.cell[0] + self.gap), self.left + column * (self.cell[1] + self.gap)

    def put(self, image: NDArray[np.uint8], row: int, column: int) -> None:
        y, x = self.corner(row, column)
        self.pixels[y : y + self.cell[0], x : x + self.cell[1]] = _resized(image, self.cell[1], self.cell[0])

    def png(self) -> bytes:
        height, width = self.pixels.shape[:2]
        figure = _figure(width, height, self.theme, dpi=100)
        figure.figimage(self.pixels)
        style: dict[str, Any] = {"color": self.theme.muted, "fontsize": 9, "parse_math": False, "va": "center"}
        for row, title in enumerate(self.row_titles):
            y = self.corner(row, 0)[0] + self.cell[0] / 2
            figure.text((self.left - 8) / width, 1 - y / height, _short(title, 28), ha="right", **style)
        for column, title in enumerate(self.column_titles):
            x = self.corner(0, column)[1] + self.cell[1] / 2
            figure.text(x / width, 1 - (self.gap + 9) / height, title, ha="center", **style)
        for index, caption in enumerate(self.captions):
            y, x = self.corner(*divmod(index, self.columns))
            self._caption(figure, (x + 3) / width, 1 - (y + 3) / height, caption)
        return _png(figure, dpi=100)

    def _caption(self, figure: "Figure", x: float, y: float, text: str) -> None:
        from matplotlib.patheffects import withStroke

        halo = withStroke(linewidth=3, foreground=self.theme.paper)
        style: dict[str, Any] = {"color": self.theme.ink, "fontsize": 9, "parse_math": False, "va": "top"}
        figure.text(x, y, _short(text, 10), path_effects=[halo], **style)


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    # A digit of 8x8 pixels should be seen as it is, not smoothed into something else.
    method = Image.Resampling.NEAREST if width >= 2 * picture.width else Image.Resampling.LANCZOS
    return np.asarray(picture.resize((width, height), method))


def drawable_curves(history: Sequence[Mapping[str, float]]) -> list[Curve]:
    """Return those of `CURVES` for which the history has finite numbers."""

    def known(name: str) -> bool:
        return any(np.isfinite(row.get(name, np.nan)) for row in history)

    kept = (replace(curve, columns=tuple(filter(known, curve.columns))) for curve in CURVES)
    return [curve for curve in kept if curve.columns]


def loss_curves(
    history: Sequence[Mapping[str, float]],
    *,
    curves: Sequence[Curve] = CURVES,
    columns: int = 2,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw the metrics of each epoch, one panel for each of `curves`, `columns` in a row; return a PNG."""
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    figure = _figure(432 * columns, 270 * rows, theme, layout="constrained")
    for place, curve in enumerate(curves, start=1):
        _draw_curve(_axes(figure, theme, (rows, columns, place)), curve, history, theme)
    return _png(figure)


def _draw_curve(axes: "Axes", curve: Curve, history: Sequence[Mapping[str, float]], theme: Theme) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [row.get("epoch", index + 1) for index, row in enumerate(history)]
    for name, colour in zip(curve.columns, ("#3f90da", "#e76300"), strict=False):
        values = [row.get(name, np.nan) for row in history]
        mark = "o" if len(history) < 3 else ""
        axes.plot(epochs, values, color=colour, lw=1.8, marker=mark, label=name.replace("_", " "))
    axes.set_title(curve.title, loc="left", fontsize=10, color=theme.ink)
    axes.set_xlabel("epoch", fontsize=9, color=theme.muted)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if curve.share:
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
    if len(curve.columns) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.muted)


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, points, standard deviations if points are means, and a star at the highest."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    star: bool = False


def line_chart(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    *,
    x_ticks: Mapping[float, str] | None = None,
    reference: tuple[str, float] | None = None,
    span: tuple[float, float] | None = None,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw lines with a band of one standard deviation, and a dashed line at a `reference` value; return a PNG.

    A `span` of the x axis is shaded, including both ends. `x_ticks` replaces the numbers on the x axis by other labels.
    """
    figure = _figure(560, 380, theme, layout="constrained")
    axes = _axes(figure, theme, (1, 1, 1))
    for number, line in enumerate(lines):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        # With many points, markers would hide the line.
        axes.plot(line.x, line.y, color=colour, lw=1.8, marker=mark if len(line.x) <= 20 else "", label=line.name)
        if line.star:
            best = int(np.argmax(line.y))
            axes.plot(line.x[best], line.y[best], marker="*", ms=15, color=colour, mec=theme.paper, zorder=3)
        if len(line.spread):
            low, high = (np.asarray(line.y) + sign * np.asarray(line.spread) for sign in (-1, 1))
            axes.fill_between(line.x, low, high, color=colour, alpha=0.18, lw=0)
    if span:
        axes.axvspan(span[0] - 0.5, span[1] + 0.5, color=theme.muted, alpha=0.18, lw=0)
    if reference:
        axes.axhline(reference[1], color=theme.muted, lw=1.2, ls="--", label=reference[0])
    axes.set_xlabel(x_title, fontsize=9, color=theme.muted)
    axes.set_ylabel(y_title, fontsize=9, color=theme.muted)
    places = sorted({x for line in lines for x in line.x})
    if len(places) <= 20:
        axes.set_xticks(places)
    if x_ticks:
        axes.set_xticks(list(x_ticks), list(x_ticks.values()))
    if len(lines) > 1 or reference:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.muted)
    return _png(figure)


def bar_chart(
    bars: Mapping[str, Mapping[str, float]], groups: Sequence[str], y_title: str, *, theme: Theme = LIGHT
) -> bytes:
    """Draw a panel per group with a bar for each name that has a value in it, written beside the bar; return a PNG."""
    rows = max(sum(group in values for values in bars.values()) for group in groups)
    figure = _figure(330 * len(groups), 70 + 24 * rows, theme, layout="constrained")
    for place, group in enumerate(groups, start=1):
        axes = _axes(figure, theme, (1, len(groups), place))
        known = {name: values[group] for name, values in bars.items() if group in values}
        colours = [COLOURS[0] if name.endswith("ours") else COLOURS[3] for name in known]
        axes.barh(range(len(known)), list(known.values()), color=colours, height=0.7)
        axes.set_yticks(range(len(known)), list(known), fontsize=8, color=theme.ink)
        axes.invert_yaxis()
        axes.set_xlim(0, 115)  # room for the text beside the longest bar
        for row, value in enumerate(known.values()):
            axes.text(value + 1.5, row, f"{value:.1f}", va="center", fontsize=8, color=theme.ink)
        axes.set_title(group, loc="left", fontsize=10, color=theme.ink)
        axes.set_xlabel(y_title, fontsize=9, color=theme.muted)
    return _png(figure)


def heat_map(values: NDArray[np.floating[Any]], names: Sequence[str], *, theme: Theme = LIGHT) -> bytes:
    """Draw values (N, N) in cells shaded from the lowest to the highest; return a PNG."""
    size = 150 + 54 * len(names)
    figure = _figure(size, size - 30, theme, layout="constrained")
    axes = _axes(figure, theme, (1, 1, 1))
    axes.grid(False)
    picture = axes.imshow(values, cmap=theme.colour_map)
    _ticks(axes, names, names)
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = picture.cmap(picture.norm(value))
        ink = "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "#1c2126"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=9, color=ink)
    return _png(figure)


def embedding_map(
    points: NDArray[np.floating[Any]],
    clusters: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] = (),
    legend: bool = False,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw points (N, 2) with the colours and markers of their clusters (N,); return a PNG.

    Each cluster's name, or its number if there are no names, is written in its middle, or in a legend on the right,
    which stays legible when clusters overlap.
    """
    figure = _figure(780 if legend else 640, 640, theme)
    axes = figure.add_axes((0.01, 0.01, 0.8 if legend else 0.98, 0.98))
    axes.set_axis_off()
    size = float(np.clip(36_000 / max(len(points), 1), 12, 60))
    present, drawn = np.unique(clusters), []
    for cluster in present:
        colour, mark = cluster_marker(int(cluster))
        x, y = points[clusters == cluster].T
        drawn.append(axes.scatter(x, y, s=size, c=colour, marker=mark, alpha=0.75, linewidths=0))
    titles = [_short(names[cluster]) if names else f"{cluster}" for cluster in present]
    if legend:
        key = axes.legend(drawn, titles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, markerscale=2)
        for text in key.get_texts():
            text.set(color=theme.ink, parse_math=False)
        return _png(figure)
    for cluster, title in zip(present, titles, strict=True):
        _title(axes, central_point(points[clusters == cluster]), title, len(present), theme)
    return _png(figure)


def central_point(points: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the point nearest to the median, as the median itself may lie in another cluster."""
    distances = np.abs(points - np.median(points, axis=0)).sum(axis=1)
    x, y = points[distances.argmin()]
    return float(x), float(y)


def _title(axes: "Axes", place: tuple[float, float], text: str, among: int, theme: Theme) -> None:
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {"ha": "center", "va": "center", "weight": "bold", "color": theme.ink, "parse_math": False}
    size = 15 if among <= 30 else 10 if among <= 100 else 7
    style["fontsize"] = size if len(text) <= 3 else max(7, size - 3)
    axes.annotate(text, place, path_effects=[withStroke(linewidth=3, foreground=theme.paper)], **style)


def confusion_matrix(
    counts: NDArray[np.integer[Any]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    row_title: str = "class",
    column_title: str = "cluster",
    theme: Theme = LIGHT,
) -> bytes:
    """Draw counts (R, C) shaded by their share of the row, with numbers up to 20 rows and columns; return a PNG."""
    rows, columns = counts.shape
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    longest = max(rows, columns)
    cell = 46 if longest <= 20 else max(1, 1200 // longest)
    figure = _figure(130 + cell * max(columns, 4), 90 + cell * max(rows, 4), theme, layout="constrained")
    axes = _axes(figure, theme, (1, 1, 1))
    axes.grid(False)
    picture = axes.imshow(shares, cmap=theme.colour_map, vmin=0, vmax=1, aspect="auto")
    _ticks(axes, row_names, column_names)
    axes.set_ylabel(row_title, color=theme.muted)
    axes.set_xlabel(column_title, color=theme.muted)
    if longest <= 20:
        for (row, column), count in np.ndenumerate(counts):
            red, green, blue, _ = picture.cmap(float(shares[row, column]))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ink = "#ffffff" if dark else "#1c2126"
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=10, color=ink)
    return _png(figure)


def _ticks(axes: "Axes", row_names: Sequence[str], column_names: Sequence[str]) -> None:
    step_y, step_x = (-(-len(names) // 60) for names in (row_names, column_names))
    style: dict[str, Any] = {"parse_math": False, "fontsize": 9 if max(len(row_names), len(column_names)) <= 20 else 7}
    axes.set_yticks(range(0, len(row_names), step_y), [_short(name) for name in row_names[::step_y]], **style)
    upright = len(column_names) > 20 or max(map(len, column_names)) > 5
    labels = [_short(name) for name in column_names[::step_x]]
    axes.set_xticks(range(0, len(column_names), step_x), labels, rotation=90 if upright else 0, **style)


def _short(text: str, longest: int = 18) -> str:
    text = "".join(letter if letter.isprintable() else "·" for letter in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _figure(width: int, height: int, theme: Theme, *, dpi: int = 96, layout: Any = None) -> "Figure":
    """Make a figure of `width` by `height` pixels at `dpi`; text sizes are meant for 96 dpi."""
    from matplotlib.figure import Figure

    # Half a pixel more, as the size is truncated to whole pixels after an inexact division.
    return Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), facecolor=theme.paper, layout=layout)


def _axes(figure: "Figure", theme: Theme, place: tuple[int, int, int]) -> "Axes":
    axes = figure.add_subplot(*place)
    axes.set_facecolor(theme.paper)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.line)
    axes.tick_params(colors=theme.muted, labelsize=8, length=3)
    axes.grid(color=theme.line, lw=0.6)
    axes.set_axisbelow(True)
    return axes


def _png(figure: "Figure", dpi: int = _DPI) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that the bundled font lacks shows as boxes; do not fail or warn about that.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
