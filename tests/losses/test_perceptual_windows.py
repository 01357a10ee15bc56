"""Windows of any stack of local layers, against the whole map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.squeezenet import Fire

from selfsort.losses.perceptual.spans import Axis, Span, Window, cut
from selfsort.losses.perceptual.windows import BlankCanvas, make_plan

CANVAS = (23, 26)


def check(layers: nn.Module, window: Window, canvas: tuple[int, int] = CANVAS) -> None:
    """Compare the window with the whole map's, the outside with the blank map, and the gradients."""
    torch.manual_seed(1)
    layers = layers.double().eval().requires_grad_(False)
    blank = torch.rand(1, 3, *canvas, dtype=torch.float64)
    picture = torch.rand(2, 3, *(span.stop - span.start for span in window), dtype=torch.float64, requires_grad=True)
    canvases = blank.repeat(2, 1, 1, 1)
    cut(canvases, window).copy_(picture)
    whole = layers(canvases)
    with torch.no_grad():
        plan = make_plan(layers, BlankCanvas(blank, window))
    found = plan(picture)
    expected = cut(whole, plan.blank.window)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    outside = whole.detach().clone()
    cut(outside, plan.blank.window).copy_(cut(plan.blank.maps, plan.blank.window))
    torch.testing.assert_close(outside, plan.blank.maps.expand_as(outside), rtol=1e-10, atol=1e-12)
    weights = torch.rand_like(found)
    gradients = [torch.autograd.grad((maps * weights).sum(), picture)[0] for maps in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


CORNER, MIDDLE, EDGE = (Span(0, 5), Span(0, 4)), (Span(9, 16), Span(8, 13)), (Span(17, 23), Span(3, 26))
ALL = (Span(0, 23), Span(0, 26))

STACKS = {
    "ceil mode": nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 5, 3, padding=1)),
    "padded poolings": nn.Sequential(nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, 2, padding=1)),
    "mean over what is there": nn.AvgPool2d(4, 3, padding=2, ceil_mode=True, count_include_pad=False),
    "mean over all": nn.AvgPool2d(4, 3, padding=2, ceil_mode=True),
    "dilated": nn.Sequential(nn.Conv2d(3, 6, 3, dilation=2, padding=2, groups=3), nn.MaxPool2d(2, 1, dilation=3)),
    "oblong": nn.Sequential(nn.Conv2d(3, 4, (5, 2), stride=(3, 1), padding=(1, 0)), nn.MaxPool2d((2, 3), (1, 2))),
    "same and valid": nn.Sequential(
        nn.Conv2d(3, 4, (5, 3), padding="same", dilation=2), nn.Conv2d(4, 4, 3, padding="valid")
    ),
    "long strides": nn.Sequential(nn.Conv2d(3, 4, 7, stride=4, padding=2), nn.Conv2d(4, 4, 2, stride=3)),
    "steps over pictures": nn.Sequential(nn.Conv2d(3, 4, 1, stride=4), nn.MaxPool2d(1, 2)),
    "fires": nn.Sequential(Fire(3, 4, 5, 6), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(11, 3, 2, 2)),
    "pointwise": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(), nn.Sequential(nn.Tanh())
    ),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("window", [CORNER, MIDDLE, EDGE, ALL])
def test_window_equals_the_whole_map(name: str, window: Window) -> None:
    torch.manual_seed(0)
    for module in STACKS[name].modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
    check(STACKS[name], window)


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel = draw(st.integers(1, 5))
        stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, kernel // 2))
        if draw(st.booleans()):
            layers.append(nn.Conv2d(3, 3, kernel, stride, padding))
        else:
            pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
            layers.append(pool(kernel, stride, padding, ceil_mode=draw(st.booleans())))
    return nn.Sequential(*layers)


@st.composite
def spans(draw: st.DrawFn, size: int = 64) -> Span:
    start = draw(st.integers(0, size - 1))
    return Span(start, draw(st.integers(start + 1, size)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(stacks(), spans(), spans())
def test_any_stack(layers: nn.Sequential, rows: Span, columns: Span) -> None:
    try:
        layers(torch.zeros(1, 3, 64, 64))
    except RuntimeError:  # these strides leave nothing for the next kernel
        return
    check(layers, (rows, columns), (64, 64))


def test_alexnets_windows() -> None:
    """The sizes measured before the first line was written (design.md)."""
    first, pool, second = Axis(4, 2, 11), Axis(2, 0, 3), Axis(1, 2, 5)
    conv1 = first.influenced(Span(80, 144), 55)
    pooled = pool.influenced(conv1, 27)
    conv2 = second.influenced(pooled, 27)
    assert [span.stop - span.start for span in (conv1, pooled, conv2)] == [19, 11, 15]
