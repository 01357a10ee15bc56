import csv
import io
import json
import os
import zipfile
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from audit_samples import CHANGES, brighter, compressed, cropped, framed, photo, photos, resized, save, shape
from samples import pictures
from selfsort.audit import audit, read_rejected, write_audit
from selfsort.audit.finding import Finding, Found
from selfsort.audit.findings import all_findings
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.export.links import link_kept
from selfsort.reporting.audit_page import write_audit_page


class Given(NamedTuple):
    """Features as returned by `selfsort.embed`."""

    values: np.ndarray
    ids: tuple[str, ...]


def found(source, **options):
    """Run an audit and return the rows of the table by id."""
    result = audit(source, **options)
    return {row["id"]: row for row in result.rows()}


def folder_of(tmp_path, images, suffix=".png"):
    for name, image in images.items():
        save(image, tmp_path / f"{name}{suffix}")
    return tmp_path


@pytest.fixture
def at_once(monkeypatch):
    """Give everything except the first chunk to two workers, however little it is."""
    monkeypatch.setattr("selfsort.data.decoding._SECONDS_ALONE", 1e-9)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)


class TestDuplicates:
    def test_equal_files_and_equal_pixels_are_exact(self, tmp_path):
        save(photo(1), tmp_path / "a.bmp")  # the largest file
        for name in ("b.png", "copy of b.png"):
            save(photo(1), tmp_path / name)
        save(photo(2), tmp_path / "other.png")
        rows = found(tmp_path)
        assert [rows[name]["reason"] for name in rows] == ["", "exact duplicate", "exact duplicate", ""]
        assert rows["b.png"]["duplicate_of"] == rows["copy of b.png"]["duplicate_of"] == "a.bmp"
        assert rows["b.png"]["similarity"] == "1.000"

    def test_grey_is_equal_however_it_is_stored(self, tmp_path):
        grey = photo(1).convert("L")
        rows = found(folder_of(tmp_path, {"a": grey.convert("RGB"), "b": grey, "c": photo(2)}))
        assert sorted(row["reason"] for row in rows.values()) == ["", "", "exact duplicate"]

    @pytest.mark.parametrize("change", CHANGES)
    def test_changed_copies_are_found_and_nothing_else(self, tmp_path, change):
        for seed in range(40):
            save(photo(seed), tmp_path / "original" / f"{seed:02d}.png")
            if seed < 20:
                save(CHANGES[change](photo(seed)), tmp_path / "copy" / f"{seed:02d}.png")
        rows = found(tmp_path)
        pairs = {(name, row["duplicate_of"]) for name, row in rows.items() if row["duplicate_of"]}
        assert {tuple(name.split("/")[1] for name in pair) for pair in pairs} == {
            (f"{k:02d}.png",) * 2 for k in range(20)
        }
        assert {row["reason"] for row in rows.values()} == {"", "near duplicate"}

    def test_a_copy_with_borders_is_found_and_the_one_without_is_kept(self, tmp_path):
        images = {f"{seed}": photo(seed) for seed in range(10)} | {"bordered": framed(photo(3), 0, 14, 0, 14)}
        rows = found(folder_of(tmp_path, images))
        assert rows["bordered.png"]["duplicate_of"] == "3.png"
        assert [name for name, row in rows.items() if row["kept"] == "no"] == ["bordered.png"]

    def test_kept_is_the_largest_picture_then_the_largest_file_then_the_first(self, tmp_path):
        save(photo(1), tmp_path / "large.jpg", quality=70)
        save(resized(photo(1)), tmp_path / "small.png")
        save(photo(2), tmp_path / "coarse.jpg", quality=50)
        save(photo(2), tmp_path / "fine.jpg", quality=95)
        for name in ("first.png", "second.png"):
            save(photo(3), tmp_path / name)
        kept = {name for name, row in found(tmp_path).items() if row["kept"] == "yes"}
        assert kept == {"large.jpg", "fine.jpg", "first.png"}

    def test_every_picture_left_out_resembles_its_keeper(self, tmp_path):
        # Each is like the next, but the first is not like the last, so no chain may join them.
        wide = photo(5, width=400)
        images = {f"{step:02d}": wide.crop((3 * step, 0, 3 * step + 120, 90)) for step in range(14)}
        result = audit(folder_of(tmp_path, images))
        assert 1 < (~result.duplicate).sum() < 14
        assert (result.groups.keepers[result.groups.keepers] == result.groups.keepers).all()
        assert (result.groups.similarity[result.near] >= result.groups.least).all()

    def test_an_exact_copy_of_a_near_duplicate_gets_the_same_keeper(self, tmp_path):
        save(photo(1), tmp_path / "a.png")
        for name in ("b.png", "c.png"):
            save(resized(photo(1)), tmp_path / name)
        rows = found(tmp_path)
        assert [rows[name]["duplicate_of"] for name in rows] == ["", "a.png", "a.png"]
        assert rows["c.png"]["reason"] == "near duplicate"

    def test_naturally_alike_pictures_are_not_duplicates(self):
        result = audit("digits")
        assert result.groups.least > 0.99 and result.near.sum() == 0

    def test_the_test_picture_of_many_frames_is_kept(self, tmp_path):
        rng = np.random.default_rng(0)
        frame = np.asarray(photo(99, 32, 32), float)
        for number in range(150):
            image = Image.fromarray(np.clip(frame + rng.normal(0, 2, (32, 32, 3)), 0, 255).astype(np.uint8))
            save(image, tmp_path / ("test" if number == 77 else "train") / f"{number:03d}.png")
        rows = found(tmp_path)
        assert {row["duplicate_of"] for row in rows.values()} == {"", "test/077.png"}
        assert [name for name, row in rows.items() if row["kept"] == "yes"] == ["test/077.png"]

    def test_a_warning_names_what_was_not_compared(self, tmp_path, monkeypatch):
        monkeypatch.setattr("selfsort.audit.duplicates._MOST_CANDIDATES", 0.1)
        result = audit(folder_of(tmp_path, {f"{k}": resized(photo(1), 0.5 + k / 20) for k in range(10)}))
        (warning,) = result.summary()["warnings"]
        assert "near duplicates may have been missed" in warning
        write_audit_page(result, tmp_path)
        assert warning in (tmp_path / "audit.html").read_text()

    def test_blank_pictures_are_not_near_duplicates_of_one_another(self, tmp_path):
        rows = found(
            folder_of(tmp_path, {str(level): Image.new("RGB", (50, 50), (level,) * 3) for level in (1, 9, 99)})
        )
        assert {row["reason"] for row in rows.values()} == {"blank"} and not any(
            r["duplicate_of"] for r in rows.values()
        )


class TestLeaks:
    def test_between_train_and_test_the_test_picture_is_kept(self, tmp_path):
        save(photo(1), tmp_path / "train/cat/1.bmp")
        save(compressed(photo(1)), tmp_path / "test/cat/9.png")
        save(photo(2), tmp_path / "train/cat/2.png")
        result = audit(tmp_path)
        (group,) = result.duplicate_groups
        assert group.across_splits and not group.across_labels and result.id(group.keeper) == "test/cat/9.png"
        assert result.summary()["leaks"] == {"across_splits": 1, "across_labels": 0}

    def test_different_labels_are_reported(self, tmp_path):
        save(photo(1), tmp_path / "cat/1.png")
        save(brighter(photo(1)), tmp_path / "dog/1.png")
        save(photo(2), tmp_path / "dog/2.png")
        result = audit(tmp_path)
        assert [(g.across_splits, g.across_labels) for g in result.duplicate_groups] == [(False, True)]
        assert {row["label"] for row in result.rows()} == {"cat", "dog"}

    def test_labels_of_arrays_count_too(self, tmp_path):
        images = photos(3, width=40, height=40)
        np.savez(tmp_path / "set.npz", images=np.concatenate([images, images[:1]]), labels=[0, 1, 2, 1])
        result = audit(tmp_path / "set.npz")
        assert result.summary()["leaks"]["across_labels"] == 1 and result.exact.sum() == 1

    def test_shapes_that_differ_only_in_colour_are_not_duplicates(self, tmp_path):
        for seed in range(20):
            save(photo(seed), tmp_path / "photo" / f"{seed}.png")
        for ink in ("red", "green"):
            save(shape(ink), tmp_path / ink / "1.png")
            save(framed(shape(ink), 0, 9, 0, 9), tmp_path / ink / "bordered.png")
            save(compressed(resized(shape(ink))), tmp_path / ink / "copy.jpg", quality=90)
        rows = found(tmp_path)
        kept = {name: row["duplicate_of"] for name, row in rows.items() if "photo" not in name}
        for ink in ("red", "green"):
            assert (
                kept[f"{ink}/1.png"] == "" and kept[f"{ink}/bordered.png"] == kept[f"{ink}/copy.jpg"] == f"{ink}/1.png"
            )
        assert audit(tmp_path).summary()["leaks"]["across_labels"] == 0

    def test_a_pile_of_shapes_is_divided_by_colour(self):
        rng = np.random.default_rng(0)
        images = np.repeat(np.stack([np.asarray(shape(ink)) for ink in ("red", "green")]), 120, 0)
        images = np.clip(images + rng.normal(0, 1, images.shape), 0, 255).astype(np.uint8)
        keepers = audit(images).groups.keepers
        assert (keepers[:120] == 0).all() and (keepers[120:] == 120).all()

    def test_unlabelled_pictures_leak_nothing(self, tmp_path):
        save(photo(1), tmp_path / "train/cat/1.png")
        save(compressed(photo(1)), tmp_path / "unlabeled/1.png")
        result = audit(tmp_path)
        assert result.summary()["leaks"] == {"across_splits": 0, "across_labels": 0}
        assert [row["id"] for row in result.rows() if row["kept"] == "yes"] == ["train/cat/1.png"]


class TestOtherFindings:
    def test_blank_grey_odd_and_small_pictures(self, tmp_path):
        images = {f"{seed}": photo(seed) for seed in range(12)}
        images |= {"blank": Image.new("RGB", (120, 90), "white"), "grey": photo(20).convert("L").convert("RGB")}
        images |= {"long": photo(21, width=400), "small": photo(22, width=20, height=15)}
        rows = found(folder_of(tmp_path, images))
        for kind, name in (("blank", "blank"), ("grey_in_colour", "grey"), ("odd_shape", "long"), ("small", "small")):
            assert [row["id"] for row in rows.values() if row[kind]] == [f"{name}.png"]
        assert rows["blank.png"]["kept"] == "no" and rows["grey.png"]["kept"] == "yes"

    def test_grey_is_not_a_finding_among_grey_pictures(self, tmp_path):
        rows = found(folder_of(tmp_path, {f"{seed}": photo(seed).convert("L") for seed in range(5)}))
        assert not any(row["grey_in_colour"] for row in rows.values())

    def test_something_else_is_an_outlier(self):
        images = photos(200, width=32, height=32)
        images[17] = np.indices((32, 32)).sum(0)[..., None] % 2 * 255
        result = audit(images)
        assert np.flatnonzero(result.found["outlier"].pictures).tolist() == [17]

    def test_with_features_outliers_are_what_a_network_finds_unusual(self):
        images = list_images(photos(200, width=32, height=32))
        rng = np.random.default_rng(0)
        kinds = rng.normal(size=(3, 64))
        kind = np.where(np.arange(200) == 17, 2, np.arange(200) % 2)
        values = (kinds[kind] + 0.3 * rng.normal(size=(200, 64))).astype(np.float32)
        features = Given(values[::-1], images.ids[::-1])  # in another order: they are matched by id
        outlier = audit(images, features=features).found["outlier"]
        assert outlier.score.argmax() == 17 and outlier.pictures[17] and outlier.pictures.sum() < 20

    def test_pictures_without_features_are_not_outliers(self):
        images = list_images(photos(200, width=32, height=32))
        values = np.random.default_rng(0).normal(size=(199, 8)).astype(np.float32)
        result = audit(images, features=Given(values, images.ids[1:]))
        assert not result.found["outlier"].pictures[0] and result.found["outlier"].score[0] == 0

    def test_with_features_a_mirrored_copy_is_a_near_duplicate(self, tmp_path):
        images = {f"{seed}": photo(seed) for seed in range(40)}
        images["mirrored"] = photo(7).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        folder = folder_of(tmp_path, images)
        listed = list_images(folder)
        values = np.eye(41, dtype=np.float32)
        values[listed.ids.index("mirrored.png")] = values[listed.ids.index("7.png")]
        found = audit(listed, features=Given(values, listed.ids))
        pairs = [{found.id(one), found.id(int(found.groups.keepers[one]))} for one in np.flatnonzero(found.near)]
        assert pairs == [{"7.png", "mirrored.png"}]
        assert not audit(listed).near.any()

    def test_borders_come_with_a_crop_box(self, tmp_path):
        images = {f"{seed}": photo(seed) for seed in range(4)}
        images |= {"wide": framed(photo(8), 0, 12, 0, 9), "red": framed(photo(9), 6, 0, 0, 0, "#c81428")}
        rows = found(folder_of(tmp_path, images))
        assert {name for name, row in rows.items() if row["border"]} == {"wide.png", "red.png"}
        box = [
            [rows[name][f"crop_{side}"] for side in ("left", "top", "right", "bottom")]
            for name in ("wide.png", "red.png")
        ]
        assert box == [[0, 12, 120, 102], [6, 0, 126, 90]]
        assert (rows["wide.png"]["border"], rows["red.png"]["border"]) == ("#000000", "#c81428")
        assert all(row["kept"] == "yes" for row in rows.values())


class TestReading:
    @pytest.fixture
    def mixed(self, tmp_path):
        whole = io.BytesIO()
        photo(1).save(whole, "JPEG")
        files = {"truncated.jpg": whole.getvalue()[:-400], "empty.png": b"", "notes.txt": b"not a picture"}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        save(photo(2).convert("CMYK"), tmp_path / "cmyk.jpg")
        save(photo(3).convert("RGBA"), tmp_path / "alpha.png")
        save(Image.fromarray(np.asarray(photo(4).convert("L")).astype(np.uint16) * 257), tmp_path / "deep.png")
        save(photo(5).convert("L"), tmp_path / "grey.png")
        save(photo(6).convert("P"), tmp_path / "palette.gif")
        save(Image.fromarray(np.asarray(photo(7)).repeat(223, 0)[:20_000, :9]), tmp_path / "20000 pixels high.png")
        return tmp_path

    def test_bad_files_are_listed_and_odd_ones_read(self, mixed):
        result = audit(mixed)
        assert {row.id: row.reason.split(" (")[0] for row in result.unreadable} == {
            "truncated.jpg": "truncated",
            "empty.png": "empty",
            "notes.txt": "not a picture",
        }
        assert len(result) == 6 and result.duplicate.sum() == 0
        assert result.summary()["rejected"] == 3

    def test_a_picture_of_too_many_pixels_is_listed(self, mixed):
        result = audit(mixed, max_pixels=100_000)
        assert ("20000 pixels high.png", "too many pixels (more than 100,000)") in result.unreadable

    def test_a_picture_that_takes_too_long_is_listed(self, tmp_path):
        save(photo(1), tmp_path / "small.png")
        Image.new("L", (6000, 6000)).save(tmp_path / "large.png")
        result = audit(tmp_path, max_seconds=0.02)
        assert [(row.id, row.reason.split(" (")[0]) for row in result.unreadable] == [("large.png", "took too long")]

    def test_large_pictures_are_examined_reduced_and_measured_at_full_size(self, tmp_path):
        big = framed(photo(1, width=1500, height=1100), 0, 61, 0, 61)
        for name in ("png.png", "jpeg.jpg"):
            save(big, tmp_path / name)
        save(big.transpose(Image.Transpose.ROTATE_90), tmp_path / "turned.jpg", exif=turned_by_exif(6))
        result = audit(tmp_path)
        for row in result.rows():
            assert (row["width"], row["height"], row["crop_top"], row["crop_bottom"]) == (1500, 1222, 61, 1161)
        assert result.duplicate.sum() == 2

    @pytest.mark.parametrize(
        "name", ["with space.png", "🌹 emoji.png", "new\nline.png", "'quotes\".png", "Ünï/cödé.png"]
    )
    def test_any_name_is_accepted(self, tmp_path, name):
        save(photo(1), tmp_path / "photos" / name)
        save(photo(1), tmp_path / "photos" / "zz.png")
        result = audit(tmp_path / "photos")
        write_audit(result, tmp_path / "audit")
        assert read_rejected(tmp_path / "audit") == (max(name, "zz.png"),)

    @pytest.mark.skipif(os.name != "posix", reason="needs names of bytes")
    def test_a_name_that_is_not_utf8(self, tmp_path):
        name = os.fsdecode(b"\xff\xfe.png")
        save(photo(1), tmp_path / "photos" / "a.png")
        save(photo(1), tmp_path / "photos" / name)
        result = audit(tmp_path / "photos")
        write_audit(result, tmp_path / "audit")
        assert read_rejected(tmp_path / "audit") == (name,)

    def test_an_empty_folder_is_an_error_and_one_picture_is_not(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="holds no files"):
            audit(tmp_path / "empty")
        summary = audit(folder_of(tmp_path / "one", {"1": photo(1)})).summary()
        assert (summary["pictures"], summary["kept"], summary["groups"]) == (1, 1, 0)

    def test_a_folder_of_unreadable_files(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
        summary = audit(tmp_path).summary()
        assert (summary["pictures"], summary["kept"], len(summary["unreadable"])) == (1, 0, 1)

    def test_zips_and_arrays(self, tmp_path):
        folder_of(tmp_path / "photos" / "train", {"cat/1": photo(1), "dog/2": photo(2), "dog/3": photo(1)})
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for path in (tmp_path / "photos").rglob("*.png"):
                archive.write(path, path.relative_to(tmp_path))
        assert list(found(tmp_path / "photos.zip").values()) == list(found(tmp_path / "photos").values())
        assert audit(pictures(6)).summary()["pictures"] == 6

    def test_workers_find_what_one_process_finds(self, tmp_path, at_once, monkeypatch):
        for seed in range(60):
            save(framed(photo(seed % 50, width=48, height=48), 0, seed % 3, 0, 0), tmp_path / f"{seed:02d}.png")
        (tmp_path / "30.png").write_bytes(b"?")
        together = list(found(tmp_path).values())
        monkeypatch.setattr("joblib.cpu_count", lambda: 1)
        assert list(found(tmp_path).values()) == together

    def test_a_split_can_be_chosen(self, tmp_path):
        folder_of(tmp_path, {"train/1": photo(1), "test/1": photo(1), "test/2": photo(2)})
        assert list(found(tmp_path, split="test")) == ["test/1.png", "test/2.png"]


class TestLeavingOut:
    @pytest.mark.parametrize(
        ("keep", "rejected"), [((), 3), (("near",), 2), (("exact", "blank"), 1), (("near", "exact", "blank"), 0)]
    )
    def test_reasons_can_be_ignored(self, tmp_path, keep, rejected):
        images = {"1": photo(1), "2": photo(1), "3": photo(2), "4": resized(photo(2)), "5": Image.new("L", (9, 9), 7)}
        result = audit(folder_of(tmp_path, images), keep=keep)
        assert result.rejected.sum() == rejected and result.duplicate.sum() == 2

    def test_an_unknown_reason_is_refused(self):
        with pytest.raises(UserError, match="keep='ugly' is not one of exact, near, blank"):
            audit(pictures(3), keep=["ugly"])

    def test_the_table_can_be_edited(self, tmp_path):
        folder_of(tmp_path / "photos", {"1": photo(1), "2": photo(1), "3": photo(2)})
        write_audit(audit(tmp_path / "photos"), tmp_path / "audit")
        path = tmp_path / "audit" / "pictures.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[1]["kept"], rows[2]["kept"] = "YES ", "No"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        assert read_rejected(tmp_path / "audit") == ("3.png",)

    def test_kept_pictures_are_linked_in_their_folders(self, tmp_path):
        images = {"cats/1": photo(1), "cats/deep/1": photo(2), "dogs/1": photo(1)}
        result = audit(folder_of(tmp_path / "photos", images))
        assert link_kept(result, tmp_path / "clean") == 2
        links = sorted(path.relative_to(tmp_path / "clean").as_posix() for path in (tmp_path / "clean").rglob("*.png"))
        assert links == ["cats/1.png", "cats/deep/1.png"]
        assert (tmp_path / "clean/cats/1.png").resolve() == tmp_path / "photos/cats/1.png"
        assert audit(tmp_path / "clean").summary()["rejected"] == 0

    def test_pictures_without_files_cannot_be_linked(self, tmp_path):
        with pytest.raises(UserError, match="not separate files to link to"):
            link_kept(audit(pictures(3)), tmp_path / "clean")
        assert not (tmp_path / "clean").exists()

    def test_nothing_is_overwritten(self, tmp_path):
        result = audit(folder_of(tmp_path / "photos", {"1": photo(1)}))
        for write in (write_audit, lambda result, out: link_kept(result, out)):
            with pytest.raises(UserError, match="is not an empty folder"):
                write(result, tmp_path / "photos")

    def test_a_page_that_fails_leaves_nothing(self, tmp_path):
        def fail(folder):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_audit(audit(pictures(3)), tmp_path / "deep" / "audit", fail)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("audit.json", None, "is not an audit"),
            ("audit.json", "{", "is damaged"),
            ("audit.json", '{"format": 99}', "newer selfsort"),
            ("pictures.csv", None, "is damaged"),
            ("pictures.csv", "id,kept\n1.png,perhaps\n", "is damaged"),
        ],
    )
    def test_a_damaged_audit_gets_one_sentence(self, tmp_path, name, content, sentence):
        write_audit(audit(pictures(3)), tmp_path / "audit")
        (tmp_path / "audit" / name).unlink()
        if content is not None:
            (tmp_path / "audit" / name).write_text(content)
        with pytest.raises(UserError, match=sentence):
            read_rejected(tmp_path / "audit")

    def test_the_summary_is_kept_beside_the_table(self, tmp_path):
        result = audit(pictures(6))
        write_audit(result, tmp_path / "audit")
        made_of = {"format": 1, "source": "array", "options": {}}
        assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == made_of | result.summary()


def turned_by_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_the_same_pictures_give_the_same_audit(tmp_path):
    images = {f"{seed}": photo(seed) for seed in range(40)} | {"copy": cropped(photo(3))}
    first, again = (list(found(folder_of(tmp_path, images)).values()) for _ in range(2))
    assert first == again


def test_a_new_finding_is_one_class(tmp_path, monkeypatch):
    class Dark(Finding):
        order, name, words, title = 70, "dark", "mostly dark", "Mostly dark"
        rejects, details = True, ("mean_level",)

        def find(self, looks, random_state):
            mean = looks.thumbnails.mean((1, 2))
            return Found(mean < 40, -mean)

        def detail(self, looks, found, picture):
            return {"mean_level": f"{-found.score[picture]:.0f}"}

    for module in ("selfsort.audit", "selfsort.audit.result", "selfsort.reporting.audit_page"):
        monkeypatch.setattr(f"{module}.all_findings", lambda: (*all_findings(), Dark()))
    for seed in range(3):
        save(photo(seed), tmp_path / f"{seed}.png")
    save(photo(9).point(lambda level: level // 8), tmp_path / "night.png")
    result = audit(tmp_path)
    assert result.summary()["dark"] == 1
    (row,) = [row for row in result.rows() if row["kept"] == "no"]
    assert (row["id"], row["reason"], row["dark"]) == ("night.png", "dark", "yes") and int(row["mean_level"]) < 40
    write_audit(result, tmp_path / "audit", partial(write_audit_page, result))
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "Mostly dark" in page and 'id="dark"' in page
    assert not audit(tmp_path, keep=["dark"]).rejected.any()
