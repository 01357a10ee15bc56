"""Classifiers that learn from labels: known embeddings, and pictures without a label."""

from typing import Any

import pytest
import torch
from torch import nn

from papers.kept import embedded
from papers.supervised import SupervisedNet
from samples import kinds, pictures, quick
from selfsort.augment import views_from
from selfsort.errors import UserError
from selfsort.training.data import ImageData
from selfsort.training.loop import train


def learnt(*, looked_up: bool, **settings: Any) -> SupervisedNet:
    torch.manual_seed(0)
    images, model = pictures(48), quick("conv-autoencoder", views="none", precision="32", epochs=2)
    net, head = model.build((16, 16, 3), 48), nn.Linear(192, 3)
    known = embedded(net, images, "cpu") if looked_up else None
    classifier = SupervisedNet(net, head, kinds(), known=known, **settings)
    data = ImageData(images, torch.device("cpu"), views_from("none"), 1)
    train(classifier, data, model.recipe())  # type: ignore[attr-defined]
    return classifier


def test_looking_embeddings_up_equals_training_through_the_frozen_network() -> None:
    through, looked_up = (learnt(frozen=True, looked_up=known).state_dict() for known in (False, True))
    assert through.keys() == looked_up.keys() and not {"known", "labels"} & through.keys()
    for name, tensor in through.items():
        torch.testing.assert_close(looked_up[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_picture_without_a_label_is_refused() -> None:
    labels = kinds()
    labels[3] = -1
    with pytest.raises(UserError, match="^Some pictures have no label"):
        SupervisedNet(quick("conv-autoencoder").build((16, 16, 3), 48), nn.Linear(192, 3), labels)
