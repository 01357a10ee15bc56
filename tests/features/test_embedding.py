"""Features computed once: kept, resumed, extended, repaired; by two processes at once; the same in any batch."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import selfsort
from selfsort.data.decoding import Block
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.features import embedding, store
from selfsort.features.embedding import Features
from selfsort.features.network import Extractor, with_folded_norms
from selfsort.models.pretrained import pretrained
from selfsort.training.recipe import pick_device, pick_precision

NETWORK = "timm:mobilenetv3_small_050=random"
SPEC = InputSpec(32, 3, mean=(0.5,) * 3, std=(0.5,) * 3)


def embed(source: object, **options: object) -> Features:
    return selfsort.embed(source, NETWORK, **{"input_spec": SPEC, "batch_size": 4, **options})


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(11):
        picture(folder / f"{i:02d}.png", i)
    return folder


def entry_of() -> Path:
    [entry] = [path for path in store.location().iterdir() if path.is_dir()]
    return entry


def test_features_are_those_of_the_network_on_the_files(photos: Path) -> None:
    found = embed(photos, precision="32")
    network = pretrained(NETWORK, SPEC)
    images = list_images(photos).pixels(SPEC)
    with torch.inference_mode():
        batch = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255
        wanted = network.module((batch - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(found.values, wanted, rtol=1e-3, atol=1e-4)
    assert found.values.shape == (11, network.width) and found.values.dtype == np.float32
    assert found.ids == tuple(f"{i:02d}.png" for i in range(11)) and found.computed == 11


def test_the_second_time_nothing_is_computed(photos: Path) -> None:
    first, second = embed(photos), embed(photos)
    assert isinstance(second.values, np.memmap) and not second.values.flags.writeable
    assert second.computed == 0 and np.array_equal(first.values, second.values)
    assert np.array_equal(embed(list_images(photos)).values, first.values)
    assert store.usage()[0] == 1 and store.usage()[1] >= first.values.nbytes


@pytest.mark.parametrize("batch_size", [4, 64])
def test_features_do_not_depend_on_the_other_pictures(photos: Path, batch_size: int) -> None:
    whole = embed(photos, batch_size=batch_size)
    alone = embed(list_images(photos).subset([7]), batch_size=batch_size, cache=False)
    few = embed(list_images(photos).subset([9, 7, 2]), batch_size=batch_size, cache=False)
    assert np.array_equal(alone.values[0], whole.values[7]) and np.array_equal(few.values, whole.values[[9, 7, 2]])


def test_only_new_and_changed_pictures_are_computed(photos: Path) -> None:
    before = np.array(embed(photos).values)
    picture(photos / "00-new.png", 99)
    picture(photos / "05.png", 55)
    shutil.copy(photos / "03.png", photos / "copy.png")
    (photos / "08.png").rename(photos / "renamed.png")
    after = embed(photos)
    assert after.computed == 2  # copies and renamed pictures are recognised by their content
    rows = dict(zip(after.ids, after.values, strict=True))
    assert np.array_equal(rows["copy.png"], before[3]) and np.array_equal(rows["renamed.png"], before[8])
    assert not np.array_equal(rows["05.png"], before[5]) and np.array_equal(rows["04.png"], before[4])
    fresh = embed(photos, cache=False)
    assert fresh.ids == after.ids and np.array_equal(fresh.values, after.values)
    assert embed(photos).computed == 0


def test_a_new_modification_time_causes_no_computation(photos: Path) -> None:
    first = embed(photos)
    os.utime(photos / "04.png", ns=(1, 1))
    second = embed(photos)
    assert second.computed == 0 and np.array_equal(first.values, second.values)


def test_a_subset_and_the_whole_share_what_is_kept(photos: Path) -> None:
    part = embed(list_images(photos).subset([8, 1, 5]))
    whole = embed(photos)
    assert (part.computed, whole.computed) == (3, 8)
    assert np.array_equal(whole.values[[8, 1, 5]], part.values)
    assert np.array_equal(embed(photos).values, whole.values)


def test_an_interrupted_extraction_is_resumed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = Extractor.of_batch

    def interrupted(self: Extractor, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Extractor, "of_batch", interrupted)
        patch.setattr(embedding, "in_batches", in_fours)  # so that something is kept before it is interrupted
        embed(photos)
    entry = entry_of()
    with open(entry / "journal", "a") as journal:
        journal.write('{"first": 4, "cou')  # killed while this was being written
    with open(entry / "rows", "ab") as rows:
        rows.write(b"half a row")
    after = embed(photos)
    assert after.computed == 7
    assert np.array_equal(after.values, embed(photos, cache=False).values)


def in_fours(blocks: Iterator[Block], size: int) -> Iterator[Block]:
    for block in blocks:
        for start in range(0, len(block.images), 4):
            yield embedding.part_of(block, start, start + 4)


@pytest.mark.parametrize("file", ["rows", "journal"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damaged_features_are_made_again(
    photos: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = np.array(embed(photos).values)
    path = entry_of() / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x7F
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[: len(content) // 3])
    after = embed(photos)
    assert np.array_equal(after.values, first) and after.computed > 0
    if file == "rows":
        assert "damaged and will be computed again" in caplog.text
    assert embed(photos).computed == 0


def test_unreadable_pictures_are_left_out_and_not_tried_again(photos: Path) -> None:
    (photos / "05.png").write_bytes(b"no picture")
    (photos / "99.png").write_bytes((photos / "01.png").read_bytes()[:-100])
    for computed in (10, 0):
        found = embed(photos)
        assert len(found.values) == len(found.images) == 10 and found.computed == computed
        assert [each.id for each in found.images.skipped] == ["05.png", "99.png"]
    picture(photos / "05.png", 5)
    assert embed(photos).computed == 1


def test_nothing_readable(photos: Path) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"no picture")
    for cache in (True, False):
        with pytest.raises(UserError, match=r"No picture in .* could be read: 11 files skipped: not a pict"):
            embed(photos, cache=cache)


def test_equal_pictures_have_equal_features(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", 0)
    found = embed(tmp_path)
    assert np.array_equal(found.values[0], found.values[1]) and np.array_equal(found.values[1], found.values[2])


def test_arrays_are_recognised_by_their_content() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 20, 20, 1), np.uint8)
    first = embed(images)
    assert embed(images.copy()).computed == 0
    other = images.copy()
    other[2] = 255 - other[2]
    changed = embed(other)
    assert not np.array_equal(first.values[2], changed.values[2]) and np.array_equal(first.values[3], changed.values[3])


@pytest.mark.slow
def test_another_network_or_input_has_its_own_features(photos: Path) -> None:
    first = embed(photos)
    other = "32" if pick_precision("auto", pick_device("auto")) == "bf16-mixed" else "bf16"
    for options in ({"input_spec": InputSpec(64, 3)}, {"precision": other}, {"input_spec": InputSpec(32, 3, "pad")}):
        assert embed(photos, **options).computed == 11
    assert embed(photos).computed == 0 and len(first.values) == 11
    assert store.usage()[0] == 4 and store.clear() > 0 and store.usage() == (0, 0)


def test_where_nothing_can_be_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path / "file"))
    assert len(embed(photos).values) == 11
    assert "Features are kept in memory only" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(photos: Path) -> None:
    embed(list_images(photos).subset([0]))
    rows = entry_of() / "rows"
    rows.unlink()
    rows.symlink_to("/dev/full")
    with pytest.raises(UserError, match="The disk is too full to keep the features"):
        embed(photos)


@pytest.mark.slow
def test_two_processes_at_once_compute_once(photos: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, selfsort\nfrom selfsort.data.input_spec import InputSpec\n"
        "spec = InputSpec(32, 3, mean=(0.5,) * 3, std=(0.5,) * 3)\n"
        f"print(selfsort.embed({str(photos)!r}, {NETWORK!r}, input_spec=spec, batch_size=4).computed)\n"
    )
    running = [subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = sorted(int(process.communicate()[0]) for process in running)
    assert counts == [0, 11]
    assert embed(photos).computed == 0


def test_bad_arguments(photos: Path) -> None:
    with pytest.raises(UserError, match="batch_size=0 must be at least 1"):
        embed(photos, batch_size=0)
    with pytest.raises(UserError, match="There is no file, folder or data set"):
        embed(photos / "nowhere")


def test_norms_are_folded_into_the_convolutions_before_them() -> None:
    network = pretrained(NETWORK, SPEC).module
    for norm in (layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    folded = with_folded_norms(network, (32, 32, 3))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-3, atol=1e-4)


def test_a_network_that_uses_a_convolutions_output_twice_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            nn.init.constant_(self.norm.weight, 3.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.convolution(images)
            return (maps + self.norm(maps)).mean((2, 3))

    network = Twice().eval()
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(with_folded_norms(network, (8, 8, 3))(images), network(images))
