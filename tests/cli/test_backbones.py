"""`selfsort backbones`, and what `selfsort cache` reports about features and weights."""

from typing import Any

import pytest

import selfsort
from selfsort.features import speed
from selfsort.models.pretrained import SHORT_NAMES


def test_the_table(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0.01)
    rows = {row["name"]: row for row in cli.json("backbones")["backbones"]}
    assert list(rows) == list(SHORT_NAMES) and all(row["commercial"] for row in rows.values())
    first = rows["efficientnet-lite0"]
    assert (first["where"], first["input"], first["licence"]) == ("package", 224, "apache-2.0")
    assert first["parameters"] == 3.4 and first["pictures_per_second"] is None
    [measured] = cli.json("backbones", "mobilenetv3_small_050", "--measure")["backbones"]
    [known] = cli.json("backbones", "mobilenetv3_small_050")["backbones"]
    assert measured["pictures_per_second"] == known["pictures_per_second"] > 0
    assert not cli.json("backbones", "convnextv2_atto")["backbones"][0]["commercial"]
    assert "efficientnet-lite0" in cli("backbones").out
    assert "did you mean 'clip'" in cli("backbones", "clipp").err


@pytest.mark.slow
def test_the_cache_counts_features_and_weights(cli: Any) -> None:
    selfsort.embed("digits", "mobilenetv3_small_050=random", input_spec=selfsort.InputSpec(32, 3))
    assert cli.json("cache")["features"] == 1
    assert cli.json("cache", "--clear")["freed"] > 1797 * 1024 * 4
    assert cli.json("cache")["features"] == 0
