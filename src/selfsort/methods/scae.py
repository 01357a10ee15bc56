"""Stacked capsule auto-encoder: parts, each drawn where its pose says, explain the pixels, and objects the parts.

Kosiorek, Sabour, Teh and Hinton, "Stacked capsule autoencoders", 2019 (arXiv 1906.06818).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.base import Batch, Net, Output
from selfsort.models.split_batch import drawn, gathered

_NOISE = 4.0  # the width of the uniform noise on the logits of all presences in training
_SMALLEST = 1e-6  # of a weight whose logarithm is taken


class PartCapsules(NamedTuple):
    """What is seen of M parts: poses (B, M, 2, 3), presences (B, M) in [0, 1], features (B, M, F)."""

    poses: Tensor
    presences: Tensor
    features: Tensor


class ObjectCapsules(NamedTuple):
    """What K objects say about M parts.

    Attributes
    ----------
    votes : (B, K, M, 2, 3) where each object would have each part
    presences : (B, K) in [0, 1]
    shares : (B, K, M) in [0, 1], how sure a present object is of each part
    deviations : (B, K, M) standard deviations of the votes

    """

    votes: Tensor
    presences: Tensor
    shares: Tensor
    deviations: Tensor


def affine(numbers: Tensor) -> Tensor:
    """Return (..., 2, 3) maps for (..., 6) numbers: two scales, an angle, a shear and a shift, all within bounds."""
    across, down = (numbers[..., :2].sigmoid() + 0.01).unbind(-1)
    sine, cosine = numbers[..., 2].sin(), numbers[..., 2].cos()
    slant = numbers[..., 3].tanh() * down
    left, top = numbers[..., 4:].tanh().unbind(-1)
    first = torch.stack((cosine * across, cosine * slant - sine * down, left), -1)
    second = torch.stack((sine * across, sine * slant + cosine * down, top), -1)
    return torch.stack((first, second), -2)


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the (..., 2, 3) maps that apply `inner` first, then `outer`."""
    turned = outer[..., :2] @ inner
    return torch.cat((turned[..., :2], turned[..., 2:] + outer[..., 2:]), -1)


def inverse(maps: Tensor) -> Tensor:
    """Return the inverses of (..., 2, 3) maps."""
    (a, b, left), (c, d, top) = (row.unbind(-1) for row in maps.unbind(-2))
    size = a * d - b * c
    a, b, c, d = d / size, -b / size, -c / size, a / size
    first, second = torch.stack((a, b, -a * left - b * top), -1), torch.stack((c, d, -c * left - d * top), -1)
    return torch.stack((first, second), -2)


def image_log_likelihood(images: Tensor, layers: Tensor, weights: Tensor, deviation: float) -> Tensor:
    """Return the (B,) log-likelihoods of (B, C, H, W) pictures, each pixel of which comes from one of L layers.

    `layers` are (B, L, C, H, W), and `weights` (B, L, H, W) how likely a pixel comes from each, up to a factor
    (section 2.1). Pixels vary about what is drawn by the standard `deviation`.
    """
    apart = (images.unsqueeze(1) - layers) / deviation
    density = -0.5 * apart.square().sum(2) - layers.shape[2] * math.log(deviation * math.sqrt(2 * math.pi))
    logs = weights.clamp_min(_SMALLEST).log()
    each = torch.logsumexp(logs + density, 1) - torch.logsumexp(logs, 1)
    return each.sum((1, 2))


def part_log_likelihood(poses: Tensor, presences: Tensor, objects: ObjectCapsules) -> tuple[Tensor, Tensor]:
    """Return the (B,) log-likelihoods of parts, and how much of them each object explains, (B, K) (section 2.2).

    Each object makes one prediction of each part, and the pose of a part comes from one of the objects.
    """
    apart = poses.flatten(2).unsqueeze(1) - objects.votes.flatten(3)  # (B, K, M, 6)
    deviations = objects.deviations
    density = -0.5 * apart.square().sum(-1) / deviations.square() - 6 * (deviations * math.sqrt(2 * math.pi)).log()
    logs = (objects.presences.unsqueeze(2) * objects.shares).clamp_min(_SMALLEST).log()
    joint = logs - torch.logsumexp(logs, (1, 2), keepdim=True) + density
    each = torch.logsumexp(joint, 1, keepdim=True)
    explained = (joint - each).exp() * presences.unsqueeze(1)
    return (presences * each.squeeze(1)).sum(1), explained.sum(2)


def prior_sparsity(presences: Tensor, shares: Tensor, expected: float) -> Tensor:
    """Return how far presences are from the `expected` share of objects in a picture, and of pictures with an object.

    Section 2.3; the second term is divided by the number of pictures, so that it does not grow with the batch.
    """
    sure = presences * shares.amax(2)
    n_images, n_objects = sure.shape
    within = (sure.sum(1) - expected * n_objects).square().mean()
    between = (sure.sum(0) - expected * n_images).square().mean() / n_images
    return within + between


def posterior_sparsity(explained: Tensor) -> Tensor:
    """Return the entropy of what explains one picture, minus that of what explains all of them (section 2.3)."""
    total = explained.sum(0)
    alone = explained / explained.sum(1, keepdim=True).clamp_min(_SMALLEST)
    within: Tensor = torch.special.entr(alone).sum(1).mean()
    between: Tensor = torch.special.entr(total / total.sum().clamp_min(_SMALLEST)).sum()
    return within - between


class PartEncoder(nn.Module):
    """Four convolutions, and for each part an attention over their positions."""

    def __init__(self, channels: int, width: int, parts: int, features: int):
        super().__init__()
        steps = zip((channels, width, width, width), (2, 2, 1, 1), strict=True)
        layers = [layer for before, stride in steps for layer in (nn.Conv2d(before, width, 3, stride, 1), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, parts * (6 + 1 + features + 1), 1))
        self.parts = parts

    def forward(self, images: Tensor) -> PartCapsules:
        """Return the parts that are seen in (B, C, H, W) pictures."""
        maps = cast(Tensor, self.layers(images)).float()
        maps = maps.reshape(
            len(maps), self.parts, -1, maps.shape[2] * maps.shape[3]
        )  # (B, M, 6 + 1 + F + 1, positions)
        attention = maps[:, :, -1:].softmax(-1)
        numbers = (maps[:, :, :-1] * attention).sum(-1)
        presences = _presence(numbers[..., 6], self.training)
        return PartCapsules(affine(numbers[..., :6]), presences, numbers[..., 7:])


class PartDecoder(nn.Module):
    """One small template for each part, coloured by the part's features and drawn at its pose, before a plain ground.

    Attributes
    ----------
    templates : (M, 2, T, T) logits of how bright, and how opaque, each part is

    """

    def __init__(self, channels: int, parts: int, features: int, template: int):
        super().__init__()
        self.templates = nn.Parameter(torch.randn(parts, 2, template, template) * 0.1)
        self.colours = nn.Linear(features, channels)
        self.ground, self.ground_weight = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(()))

    def forward(self, parts: PartCapsules, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the layers (B, M + 1, C, H, W) of pictures of `size`, and their weights (B, M + 1, H, W)."""
        count, number = parts.presences.shape
        maps = inverse(parts.poses).flatten(0, 1)
        grid = F.affine_grid(maps, [len(maps), 1, *size], align_corners=False)
        templates = self.templates.float().sigmoid().expand(count, -1, -1, -1, -1).flatten(0, 1)
        shown = F.grid_sample(templates, grid, align_corners=False).view(count, number, 2, *size)
        colours = cast(Tensor, self.colours(parts.features)).float().sigmoid()
        layers = shown[:, :, :1] * colours[..., None, None]
        ground = self.ground.float().sigmoid()[:, None, None].expand(count, 1, -1, *size)
        weights = parts.presences[..., None, None] * shown[:, :, 1]
        ground_weight = self.ground_weight.float().sigmoid().expand(count, 1, *size)
        return torch.cat((layers, ground), 1), torch.cat((weights, ground_weight), 1)


class Attention(nn.Module):
    """Attention of queries to parts as far as these are present, and a layer for each query (a set transformer)."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.first, self.second, self.layer = nn.LayerNorm(width), nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, queries: Tensor, parts: Tensor, presences: Tensor) -> Tensor:
        """Return (B, Q, W) for queries (B, Q, W), parts (B, M, W) and presences (B, M)."""
        seen = presences.clamp_min(_SMALLEST).log().unsqueeze(1).expand(-1, queries.shape[1], -1)
        query, key, value = self.query(queries), self.key(parts), self.value(parts)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen.to(query.dtype))
        queries = self.first(queries + found)
        return cast(Tensor, self.second(queries + self.layer(queries).relu()))


class ObjectEncoder(nn.Module):
    """A set transformer from the parts to a vector for each object, and a small network of its own for each object."""

    def __init__(self, parts: int, part_width: int, objects: int, width: int):
        super().__init__()
        self.parts, outputs = parts, 6 + 1 + parts * 8
        self.enter, self.among = nn.Linear(part_width, width), nn.ModuleList(Attention(width) for _ in range(2))
        self.seeds, self.to_objects = nn.Parameter(torch.randn(objects, width)), Attention(width)
        self.first = nn.Parameter(torch.randn(objects, width, width) * math.sqrt(2 / width))
        self.second = nn.Parameter(torch.randn(objects, width, outputs) * math.sqrt(1 / width) * 0.1)
        self.offsets = nn.Parameter(torch.zeros(objects, width))
        # Where an object's parts are in it, whatever the picture; they must differ, or all objects would stay the same.
        self.places = nn.Parameter(torch.randn(objects, parts, 6))

    def forward(self, parts: PartCapsules, templates: Tensor) -> ObjectCapsules:
        """Return what the objects say; `templates` are those of the parts, (M, T)."""
        seen = (parts.poses.flatten(2), parts.features, templates.expand(len(parts.poses), -1, -1))
        tokens = self.enter(torch.cat((*seen, parts.presences.unsqueeze(2)), 2)).float()
        for layer in self.among:
            tokens = layer(tokens, tokens, parts.presences)
        vectors = self.to_objects(self.seeds.expand(len(tokens), -1, -1), tokens, parts.presences)
        hidden = (torch.einsum("bkw,kwv->bkv", vectors, self.first) + self.offsets).relu()
        numbers = torch.einsum("bkw,kwo->bko", hidden, self.second).float()
        each = numbers[..., 7:].reshape(*numbers.shape[:2], self.parts, 8)
        inner = affine(each[..., :6] + self.places.float())
        votes = composed(affine(numbers[..., :6]).unsqueeze(2), inner)
        presences = _presence(numbers[..., 6], self.training)
        shares = _presence(each[..., 6], self.training)
        return ObjectCapsules(votes, presences, shares, F.softplus(each[..., 7] + 0.5) + 0.01)


def _presence(logits: Tensor, training: bool) -> Tensor:
    if training:
        noise = drawn(lambda rows: torch.rand((rows, *logits.shape[1:]), device=logits.device), len(logits))
        logits = logits + _NOISE * (noise - 0.5)
    return logits.sigmoid()


@dataclass(frozen=True)
class Sizes:
    """The numbers of parts and objects, and the widths of the networks."""

    parts: int
    objects: int
    features: int
    template: int
    width: int


class SCAENet(Net):
    """A part capsule auto-encoder, and an object capsule auto-encoder on its parts."""

    def __init__(self, channels: int, sizes: Sizes, deviation: float, expected: float, weights: tuple[float, float]):
        super().__init__()
        self.deviation, self.expected, self.weights = deviation, expected, weights
        parts, features, template = sizes.parts, sizes.features, sizes.template
        self.part_encoder = PartEncoder(channels, sizes.width, parts, features)
        self.part_decoder = PartDecoder(channels, parts, features, template)
        token = 6 + features + 2 * template**2 + 1
        self.object_encoder = ObjectEncoder(parts, token, sizes.objects, sizes.width)

    def loss(self, batch: Batch) -> Tensor:
        """Return minus both log-likelihoods, averaged over pictures, plus the weighted sparsity of the objects."""
        images = batch.views[0].float()
        parts = self.part_encoder(images)
        layers, weights = self.part_decoder(parts, (images.shape[2], images.shape[3]))
        pixels = image_log_likelihood(images, layers, weights, self.deviation).mean()
        objects, poses, presences = self.objects(parts)
        likelihood, explained = part_log_likelihood(poses, presences, objects)
        prior = prior_sparsity(gathered(objects.presences), gathered(objects.shares), self.expected)
        posterior = posterior_sparsity(gathered(explained))
        return -pixels - likelihood.mean() + self.weights[0] * prior + self.weights[1] * posterior

    def objects(self, parts: PartCapsules) -> tuple[ObjectCapsules, Tensor, Tensor]:
        """Return the objects, and the poses and presences of the parts, which learn from the pixels alone."""
        seen = PartCapsules(*(each.detach() for each in parts))
        templates = self.part_decoder.templates.detach().float().flatten(1)
        return self.object_encoder(seen, templates), seen.poses, seen.presences

    def forward(self, inputs: Tensor) -> Output:
        """Return how much of the parts each object explains, (B, K)."""
        objects, poses, presences = self.objects(self.part_encoder(inputs))
        return Output(part_log_likelihood(poses, presences, objects)[1])


@dataclass(kw_only=True, eq=False, repr=False)
class SCAE(TrainedEstimator):
    """Stacked capsule auto-encoder (Kosiorek et al. 2019): objects that explain the parts of a picture; then clusters.

    Parameters
    ----------
    parts : number of kinds of parts, each with a template
    objects : number of kinds of objects (numbers in the embedding)
    template : side of the templates, in pixels
    features : numbers that describe a part besides its pose, such as its colour
    width : channels of the convolutions and numbers in the vectors of the set transformer
    deviation : standard deviation of pixels, which are in [0, 1], about what is drawn
    expected : share of the objects expected in a picture, and of the pictures in which one is expected (the paper's
        number of classes, inverted)
    prior_weight : weight of this expectation in the loss
    posterior_weight : weight of few objects explaining a picture, and all objects explaining some picture

    """

    parts: int = 24
    objects: int = 24
    template: int = 11
    features: int = 16
    width: int = 64
    deviation: float = 0.2
    expected: float = 0.1
    prior_weight: float = 1.0
    posterior_weight: float = 1.0
    batch_size: int = 128
    views: str | Augmentation = "none"

    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters, including their ranges."""
        super().check_params()
        for name in ("parts", "objects", "template", "features", "width"):
            if not 1 <= getattr(self, name) <= 4096:
                raise UserError(f"{name}={getattr(self, name)} must be from 1 to 4096.")
        if not 0 < self.deviation < math.inf:
            raise UserError(f"deviation={self.deviation} must be a positive number.")
        if not 0 < self.expected < 1:
            raise UserError(f"expected={self.expected} must be between 0 and 1.")
        for name in ("prior_weight", "posterior_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)} must be 0 or a positive number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> SCAENet:
        """Return the untrained network."""
        sizes = Sizes(self.parts, self.objects, self.features, self.template, self.width)
        return SCAENet(image_shape[2], sizes, self.deviation, self.expected, (self.prior_weight, self.posterior_weight))
