"""The perceptual loss: squared differences between feature maps of small pictures on a large blank canvas."""

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.losses.perceptual.spans import Span, Window
from selfsort.losses.perceptual.windows import BlankCanvas, Plan, find_not_local, make_plan

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class PerceptualLoss(nn.Module):
    """Compare pictures by a frozen network's features (paper 1, section 2.2 and equation 4).

    The paper pads 64x64 pictures with zeros to the 224x224 that the network was built for. Nine tenths of that canvas
    are blank: only the window that a picture can influence is computed, and the result is the same.

    Parameters
    ----------
    features : local layers, as returned by `feature_layers`; kept in eval mode
    image_size : (height, width) of the pictures
    canvas : side of the square to which they are padded
    position : (top, left) of a picture on the canvas; centred if None
    normalise : whether the canvas is normalised with ImageNet's mean and standard deviation (the paper says nothing)
    sigmoid : whether a sigmoid follows the layers, as in the code of the paper's predecessor

    Raises
    ------
    UserError
        If the pictures do not fit on the canvas, the canvas is too small for the layers, or layers are not local.

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Sequential,
        image_size: tuple[int, int],
        *,
        canvas: int = 224,
        position: tuple[int, int] | None = None,
        normalise: bool = False,
        sigmoid: bool = False,
    ):
        super().__init__()
        self.features = features.eval()
        self.image_size, self.canvas = image_size, canvas
        self.window = _place(image_size, canvas, position)
        self.normalise, self.sigmoid = normalise, sigmoid
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.map_shape = _map_shape(features, canvas)  # (C, H, W) of the whole output
        # Plans derived from the weights are kept for each precision while the weights stay the same.
        self._plans: dict[torch.dtype, Plan] = {}
        self._planned_for: Any = None

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Keep the frozen layers as they are: dropout stays off and batch norm keeps its statistics."""
        super().train(mode)
        self.features.eval()
        return self

    def loss(self, images: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared difference of the whole feature maps of two (B, 3, h, w) batches.

        No gradient flows to the target.
        """
        with torch.no_grad():
            wanted = self(target)
        difference = F.mse_loss(_precise(self(images)), _precise(wanted), reduction="sum")
        return difference / (len(images) * self.map_shape.numel())  # outside the window both equal the blank canvas

    def forward(self, images: Tensor) -> Tensor:
        """Return the features that (B, 3, h, w) pictures in [0, 1] can influence, (B, C, rows, columns)."""
        if images.shape[-2:] != self.image_size:
            wanted, got = _size(self.image_size), _size(images.shape[-2:])
            raise UserError(f"The perceptual loss was set up for {wanted} pictures but got {got}.")
        plan = self._plan(images)
        window = self._prepared(images).to(plan.blank.maps.dtype, memory_format=torch.channels_last)
        maps = plan(window)
        return maps.sigmoid() if self.sigmoid else maps

    def naive(self, images: Tensor) -> Tensor:
        """Return the whole feature maps, (B, C, H, W), computed on the whole canvas, as a reference."""
        rows, columns = self.window
        edges = (columns.start, self.canvas - columns.stop, rows.start, self.canvas - rows.stop)
        maps = cast(Tensor, self.features(self._prepared(F.pad(images, edges))))
        return maps.sigmoid() if self.sigmoid else maps

    def _prepared(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std if self.normalise else images

    def _plan(self, images: Tensor) -> Plan:
        weights = [*self.features.parameters(), *self.features.buffers()]
        state = [(tensor.data_ptr(), tensor._version, tensor.dtype) for tensor in weights]
        if state != self._planned_for:
            self._plans, self._planned_for = {}, state
        device = images.device
        autocast = torch.is_autocast_enabled(device.type)
        precision = torch.get_autocast_dtype(device.type) if autocast else images.dtype
        if precision not in self._plans:
            # Constants made in inference mode could not be used in training later.
            with torch.inference_mode(False), torch.no_grad():
                dtype = torch.float32 if autocast else images.dtype
                blank = torch.zeros(1, 3, self.canvas, self.canvas, device=device, dtype=dtype)
                self._plans[precision] = make_plan(self.features, BlankCanvas(self._prepared(blank), self.window))
        return self._plans[precision]


def _precise(maps: Tensor) -> Tensor:
    """Return maps as (B, H, W, C), their order in memory, in at least float32."""
    # Left as (B, C, H, W), mse_loss would write its gradient in that order, and the backward pass take five times as
    # long.
    return maps.permute(0, 2, 3, 1).to(torch.promote_types(maps.dtype, torch.float32))


def _place(image_size: tuple[int, int], canvas: int, position: tuple[int, int] | None) -> Window:
    height, width = image_size
    top, left = position or ((canvas - height) // 2, (canvas - width) // 2)
    if not (0 <= top <= canvas - height and 0 <= left <= canvas - width):
        where = "" if position is None else f" at row {top}, column {left}"
        raise UserError(
            f"{_size(image_size)} pictures do not fit{where} on the perceptual network's {canvas}x{canvas} canvas: "
            "use smaller pictures or a larger canvas."
        )
    return Span(top, top + height), Span(left, left + width)


def _map_shape(features: nn.Sequential, canvas: int) -> torch.Size:
    """Return the (C, H, W) of the output, and refuse layers or a canvas that yield none."""
    found = find_not_local(features)
    if found:
        raise UserError(
            f"Layer {found[0]} ({type(found[1]).__name__}) of the perceptual network is not local: "
            "cut the network before it, or use AlexNet, VGG or SqueezeNet."
        )
    try:
        with torch.no_grad():
            shapes = copy.deepcopy(features).to("meta")
            return cast(torch.Size, shapes(torch.empty(1, 3, canvas, canvas, device="meta")).shape[1:])
    except RuntimeError as error:
        raise UserError(
            f"A {canvas}x{canvas} canvas is too small for the {len(features)} layers of the perceptual network: "
            "use a larger canvas or fewer layers."
        ) from error


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
