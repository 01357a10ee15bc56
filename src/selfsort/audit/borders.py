"""Uniform borders: bars of one colour along the sides of a picture, with a straight edge towards its content."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDES = ("left", "top", "right", "bottom")
_OPPOSITE = [2, 3, 0, 1]

_LARGEST_SHARE = 0.45  # of a picture's width or height that one border may take
_LARGEST_DIFFERENCE = 64  # levels at which differences are cut off, so that a few bright pixels do not decide
_DIFFERENT = 4, 16  # levels from the border's colour that count as different, depending on compression artefacts
_FLAT = 17  # mean difference allowed in the outermost line of a border
_SAME_COLOUR = 14


class Borders(NamedTuple):
    """Depths (N, 4) of the borders at the left, top, right and bottom in pixels, and their colours (N, 4, 3).

    `certainty` (N,), from 0 to 1, ranks pictures by how clear the least clear of their borders is.
    """

    depths: NDArray[np.int32]
    colours: NDArray[np.uint8]
    certainty: Floats


class _Steps(NamedTuple):
    """For each picture and side, the properties of the best place for a straight edge.

    `depth` is the number of lines outside the edge. `clean` is their largest mean difference from the border's colour
    (except the line at the edge, which scaling and compression blur), `content` that of the three lines inside, and
    `first` that of the first of these three. `edge` is the share of these lines that differs clearly, `flat` the mean
    difference in the outermost line.
    """

    depth: NDArray[np.int64]
    clean: Floats
    content: Floats
    first: Floats
    edge: Floats
    flat: Floats
    colour: Floats


def find_borders(images: NDArray[np.uint8]) -> Borders:
    """Find the uniform borders of pictures (N, H, W, C) of one size.

    A border differs from a plain background with objects on it by its edge: right next to it, most of the line differs
    from its colour. If opposite sides, or several sides, have the same colour, a smaller part of the line is enough.
    """
    steps = [_steps(images, side, None) for side in range(4)]
    seen = np.stack([np.where(_leap(each, 1.5, 10, 0.27) & (each.edge > 0.45), each.depth, 0) for each in steps], 1)
    # Again, without the pixels of the borders on the adjacent sides.
    steps = [_steps(images, side, seen[:, 1 - side % 2 :: 2]) for side in range(4)]
    found = _found(steps)
    depths = np.where(found, np.stack([each.depth for each in steps], 1), 0)
    colours = np.stack([each.colour for each in steps], 1)
    leaps = np.stack([each.edge * (each.content - each.clean) / _LARGEST_DIFFERENCE for each in steps], 1)
    certainty = np.where(found.any(1), np.where(found, leaps, 1).min(1), 0).astype(np.float32)
    return Borders(depths.astype(np.int32), np.repeat(colours, 3 // colours.shape[2], 2).astype(np.uint8), certainty)


def refine(pixels: NDArray[np.uint8], rough: NDArray[np.integer[Any]], slack: int) -> NDArray[np.int32]:
    """Return the depths (4,) of the borders of a picture (H, W, C) that are known up to `slack` pixels."""
    depths = np.zeros(4, np.int32)
    for side in np.flatnonzero(rough).tolist():
        lines = _from_side(pixels[None], side)[:, : rough[side] + slack + 1]
        colour = np.median(lines[:, 0], axis=1).astype(np.float32)
        means = _difference(lines, colour).mean(2)[0]
        first = max(1, rough[side] - slack)
        over = np.flatnonzero(means[first:] > (means[:first].max() + means.max()) / 2)
        depths[side] = first + over[0] if over.size else rough[side]
    return depths


def _found(steps: list[_Steps]) -> NDArray[np.bool_]:
    """Decide for each picture and side (N, 4) whether there is a border."""
    colours, depths = (np.stack([getattr(each, name) for each in steps], 1) for name in ("colour", "depth"))
    sure = np.stack([_leap(each, 2, 15, 0.2) & (each.edge >= 0.5) | _faint(each) for each in steps], 1)
    likely = np.stack([_leap(each, 1.5, 4, 0.27) & (each.edge >= 0.4) for each in steps], 1)
    alike = np.abs(colours[:, :, None] - colours[:, None]).max(3) <= _SAME_COLOUR  # (N, 4, 4)
    across = depths[:, _OPPOSITE]
    paired = np.abs(depths - across) <= 1 + np.minimum(depths, across) / 3
    paired &= likely & likely[:, _OPPOSITE] & alike[:, range(4), _OPPOSITE]
    found = sure | paired
    found |= likely & (alike & found[:, None]).any(2)
    return np.asarray(found, bool)


def _leap(steps: _Steps, factor: float, least: float, flat: float) -> NDArray[np.bool_]:
    """Tell where the inside differs much more than the outside; the larger the leap, the less flat a border must be."""
    leap = steps.content - factor * steps.clean >= least
    return np.asarray((steps.depth > 0) & leap & (steps.flat <= np.maximum(9, flat * steps.content)), bool)


def _faint(steps: _Steps) -> NDArray[np.bool_]:
    """Detect a border of exactly one colour around content that hardly differs from it, such as black around night.

    The colour must change abruptly; a picture that fades into black changes gradually.
    """
    clean = (steps.depth > 0) & (np.maximum(steps.clean, steps.flat) <= 2.5) & (steps.edge >= 0.5)
    at_once = steps.first - steps.clean >= 0.75 * (steps.content - steps.clean)
    return np.asarray(clean & at_once & (steps.content >= 3 * steps.clean + 2), bool)


def _steps(images: NDArray[np.uint8], side: int, across: NDArray[np.int32] | None) -> _Steps:
    """Find the best edge along one side; `across` (N, 2) columns at either end belong to adjacent borders."""
    views = _from_side(images, side)
    n, lines, width, channels = views.shape
    colour = np.median(views[:, 0], axis=1).astype(np.float32)  # (N, C)
    inside = np.ones((n, width), bool) if across is None else _inside(width, across)
    flat = _means(_difference(views[:, :1], colour), inside)[:, 0]
    clean, content, first, edge = np.zeros((4, n), np.float32)
    steps = _Steps(np.zeros(n, np.int64), clean, content, first, edge, flat, colour)
    deepest = int(_LARGEST_SHARE * lines)
    # Few pictures get this far, and only a few of their pixels are examined.
    if deepest and (rows := np.flatnonzero(flat <= _FLAT)).size:
        difference = _difference(views[rows, : deepest + 3], colour[rows])
        best = _best_edges(difference, inside[rows], deepest)
        steps.depth[rows], clean[rows], content[rows], first[rows], edge[rows] = best
    return steps


def _best_edges(
    difference: Floats, inside: NDArray[np.bool_], deepest: int
) -> tuple[NDArray[np.int64], Floats, Floats, Floats, Floats]:
    """Return depth, clean, content, first and edge for the depth from 1 to `deepest` with the largest leap."""
    means = _means(difference, inside)  # (N, L)
    last = means.shape[1] - 1
    depths = np.arange(1, deepest + 1)
    within = np.minimum(depths[:, None] + np.arange(3), last)  # the three lines inside
    clean = np.maximum.accumulate(means, 1)[:, np.maximum(depths - 2, 0)]
    content = means[:, within].mean(2)
    best = (content - 1.5 * clean).argmax(1)
    rows = np.arange(len(means))
    clean, content, first = clean[rows, best], content[rows, best], means[rows, depths[best]]
    different = np.clip(3 * clean + 2, *_DIFFERENT)[:, None, None]
    lines = difference[rows[:, None], within[best]]  # (N, 3, W)
    edge = np.sort(_means((lines > different).astype(np.float32), inside), 1)[:, 1]
    # The line at the edge belongs to the border unless it differs by more than half of the leap.
    depth = depths[best] - (means[rows, depths[best] - 1] > (clean + content) / 2)
    return depth.astype(np.int64), clean, content, first, edge


def _difference(lines: NDArray[np.uint8], colour: Floats) -> Floats:
    """Return how much pixels (N, L, W, C) differ from a colour (N, C), as (N, L, W)."""
    # Channel by channel, as numpy is slow along a last axis of length three.
    each = [np.abs(lines[..., c] - colour[:, None, None, c]) for c in range(lines.shape[3])]
    difference = np.maximum.reduce(each)
    return np.asarray(np.minimum(difference, _LARGEST_DIFFERENCE), np.float32)


def _means(values: Floats, inside: NDArray[np.bool_]) -> Floats:
    means: Floats = np.einsum("nlw,nw->nl", values, inside.astype(np.float32)) / inside.sum(1, keepdims=True)
    return means


def _inside(width: int, across: NDArray[np.int32]) -> NDArray[np.bool_]:
    before, behind = across.T
    place = np.arange(width)
    inside: NDArray[np.bool_] = (place >= before[:, None]) & (place < width - behind[:, None])
    inside[inside.sum(1) < 4] = True
    return inside


def _from_side(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Flip and transpose pictures so that their lines start at the given side."""
    turned = images if side in (1, 3) else images.transpose(0, 2, 1, 3)
    return turned[:, ::-1] if side >= 2 else turned
