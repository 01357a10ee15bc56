"""Importing and exporting names: tables, class folders, other runs, JSON, COCO, zips, folders."""

import json
import os
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

import selfsort
from samples import pictures, quick
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.export.named import NamedPictures, Said, file_formats, names_format, write_named
from selfsort.labelling import lines
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.session import Session
from selfsort.labelling.exchange import event_of, export_names, import_names, names_in
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.store import IMPORTED, Store, load_session
from selfsort.schema import Invalid
from selfsort.tables import read_table, write_table

KINDS = ("across", "down", "block")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty photographs of three kinds and two sizes in class folders."""
    root = tmp_path / "photos"
    for index, pixels in enumerate(pictures(30, 16)):
        (root / KINDS[index % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[: 16 if index else 8]).save(root / KINDS[index % 3] / f"{index:02d}.png")
    return root


@pytest.fixture
def photos(folder: Path) -> ImageSet:
    return selfsort.load_images(folder, cache=False)


@pytest.fixture
def trained(tmp_path: Path, photos: ImageSet) -> Path:
    quick("kmeans").fit(photos, run_dir=tmp_path / "trained")
    return tmp_path / "trained"


def table(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("id", "name")) -> Path:
    write_table(path, columns, rows)
    return path


def line(content: dict[str, Any]) -> lines.LogLine:
    return lines.LogLine(1, "k", "ann", "answer", json.dumps(content))


def labels_of(run: Path) -> dict[str, str]:
    with closing(Store.open(run)) as store:
        labels = load_session(store, run).labels()
    ids = selfsort.load(run).ids_
    return {ids[place]: labels.names[number] for place, number in enumerate(labels.name_of) if number >= 0}


class TestAssigning:
    def test_single_pictures_get_names_of_their_own_over_those_of_groups(self):
        session = Session(6)
        session.add([Group(0, np.arange(4), np.zeros(4, np.float32), None, "cluster", 0)])
        session.apply(Event("name", 0, "cat"))
        session.apply(Event("assign", pictures=(3, 5), names=("dog", "cow"), chosen=(0, 1)))
        assert session.counts() == [("cat", 3), ("dog", 1), ("cow", 1)] and session.covered() == 5
        assert session.by_hand().tolist() == [-1, -1, -1, 1, -1, 2]
        assert session.targets().weights[[3, 5]].tolist() == [1, 1]
        session.undo()
        assert session.counts() == [("cat", 4)]

    def test_a_later_answer_counts_for_a_group_but_not_over_a_picture_named_by_itself(self):
        session = Session(4)
        session.add([Group(0, np.arange(4), np.zeros(4, np.float32), None, "cluster", 0)])
        session.apply(Event("assign", pictures=(1,), names=("dog",), chosen=(0,)))
        session.apply(Event("name", 0, "cat"))
        assert dict(session.counts()) == {"cat": 3, "dog": 1}

    def test_merged_names_take_assigned_pictures_along(self):
        session = Session(3)
        session.apply(Event("assign", pictures=(0, 1), names=("dog", "hound"), chosen=(0, 1)))
        session.apply(Event("merge", name="dog", names=("hound",)))
        assert session.counts() == [("dog", 2)] and session.by_hand().tolist() == [0, 0, -1]

    @pytest.mark.parametrize(
        ("event", "words"),
        [
            (Event("assign", names=("a",)), "needs pictures"),
            (Event("assign", pictures=(1,), names=("a",)), "needs pictures"),
            (Event("assign", pictures=(1,), names=("a",), chosen=(1,)), "from 0 to 0 in names"),
            (Event("assign", pictures=(9,), names=("a",), chosen=(0,)), "there are only 3"),
            (Event("assign", pictures=(1,), names=(" ",), chosen=(0,)), "empty"),
        ],
    )
    def test_meaningless_answers_are_refused(self, event, words):
        with pytest.raises(UserError, match=words):
            Session(3).check(event)

    def test_it_is_restored_from_json_and_so_are_older_answers(self):
        event = Event("assign", pictures=(3,), names=("dog",), chosen=(0,))
        assert lines.event_of(line(event.to_json())) == event
        before = Event("skip", 3).to_json()
        del before["chosen"]
        assert lines.event_of(line(before)) == Event("skip", 3)

    @pytest.mark.parametrize(
        "damaged", [{"chosen": [1]}, {"chosen": []}, {"names": []}, {"group": 3}, {"kind": "pull"}]
    )
    def test_a_damaged_one_is_recognised(self, damaged):
        event = Event("assign", pictures=(3,), names=("dog",), chosen=(0,)).to_json()
        with pytest.raises(Invalid):
            lines.event_of(line(event | damaged))


class TestImport:
    def test_a_table_names_single_pictures(self, trained, tmp_path):
        found = import_names(
            trained, table(tmp_path / "t.csv", [("across/00.png", "rose"), ("down/01.png", " tulip ")])
        )
        assert (found.named, found.already, found.unknown) == (2, 0, ()) and found.names == {"rose": 1, "tulip": 1}
        assert labels_of(trained) == {"across/00.png": "rose", "down/01.png": "tulip"}
        with closing(Store.open(trained)) as store:
            (kept,) = store.events()
        assert kept.client == IMPORTED

    def test_importing_twice_changes_nothing(self, trained, tmp_path):
        path = table(tmp_path / "t.csv", [("across/00.png", "rose")])
        import_names(trained, path)
        assert import_names(trained, path).already == 1
        with closing(Store.open(trained)) as store:
            assert len(store.events()) == 1

    def test_class_folders(self, trained, folder):
        found = import_names(trained, folder)
        assert found.names == {"across": 10, "down": 10, "block": 10}
        assert labels_of(trained)["down/01.png"] == "down"

    def test_answers_of_another_run_but_not_names_that_spread(self, trained, photos, tmp_path):
        other = tmp_path / "other"
        quick("kmeans", random_state=1).fit(photos, run_dir=other)
        import_names(other, table(tmp_path / "t.csv", [("across/00.png", "rose"), ("down/01.png", "tulip")]))
        assert import_names(trained, other).named == 2
        assert labels_of(trained) == {"across/00.png": "rose", "down/01.png": "tulip"}

    def test_pictures_sorted_elsewhere_are_recognised_by_file_name(self, trained, tmp_path):
        rows = [("elsewhere/00.png", "rose"), ("x/01.png", "tulip"), ("y/01.png", "tulip"), ("across/77.png", "rose")]
        found = import_names(trained, table(tmp_path / "t.csv", rows))
        assert (found.named, found.by_file_name) == (1, 1)
        assert found.unknown == ("x/01.png", "y/01.png", "across/77.png"), "two files with the same name are ambiguous"
        assert labels_of(trained) == {"across/00.png": "rose"}

    def test_names_that_look_the_same_become_one(self, trained, tmp_path):
        import_names(trained, table(tmp_path / "t.csv", [("across/00.png", "Rose")]))
        rows = [
            ("down/01.png", "rose"),
            ("block/02.png", "Red Lily"),
            ("across/03.png", "red lily"),
            ("down/04.png", "Red Lily"),
        ]
        assert import_names(trained, table(tmp_path / "u.csv", rows)).names == {"Red Lily": 3, "Rose": 1}

    def test_rows_without_a_name_and_names_that_spread_are_ignored(self, trained, tmp_path):
        rows = [("across/00.png", "rose", "1"), ("down/01.png", "rose", "0"), ("block/02.png", "", "1")]
        found = import_names(trained, table(tmp_path / "t.csv", rows, ("id", "name", "given")))
        assert found.named == 1 and found.unknown == ()

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("id,label\na,b\n", "'id' and 'name' but has 'id', 'label'"),
            ("id,name\nx.png,rose\n", "names no picture of the run, as its ids are like 'x.png'"),
            ("id,name\n", "it has no names"),
            ('id,name\n"a,b\n', "cannot be read as a table"),
            (f"id,name\nacross/00.png,{'x' * 101}\n", "101 characters"),
        ],
    )
    def test_a_source_that_names_nothing_is_refused(self, trained, tmp_path, content, words):
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(UserError, match=words):
            import_names(trained, tmp_path / "t.csv")

    def test_a_missing_table_and_pictures_without_folders(self, trained, tmp_path):
        with pytest.raises(UserError, match="no such file"):
            names_in(tmp_path / "t.csv")
        np.save(tmp_path / "p.npy", pictures(3))
        with pytest.raises(UserError, match="no class folders"):
            names_in(tmp_path / "p.npy")

    def test_ids_from_spreadsheets_are_restored(self):
        event, _ = event_of(Session(1), ["=1.png"], {"=1.png": "rose"})
        assert event is not None and event.pictures == (0,)

    def test_an_open_page_shows_what_was_imported(self, run, images, tmp_path):
        with closing(LabelService(run, images, n_groups=6)) as service:
            import_names(run, table(tmp_path / "t.csv", [(images.ids[0], "rose")]))
            service.state()
            service.settle()
            assert service.state()["names"][0]["name"] == "rose"


def nobody(n: int) -> Said:
    """Nobody has said anything, and there is no model."""
    nothing = np.full(n, -1)
    return Said(nothing, np.zeros(n, bool), np.zeros(n, np.int64), nothing, np.zeros(n, np.float32))


class TestExport:
    def test_every_name_spreads_as_on_the_page(self, run, images, tmp_path):
        rows = [(images.ids[place], KINDS[place % 3]) for place in range(12)]
        import_names(run, table(tmp_path / "t.csv", rows))
        export_names(run, tmp_path / "out.csv")
        found = list(read_table(tmp_path / "out.csv"))
        assert [row["name"] for row in found] == [KINDS[place % 3] for place in range(60)]
        assert [row["given"] for row in found] == ["1"] * 12 + ["0"] * 48
        export_names(run, tmp_path / "given.csv", given=True)
        assert sum(row["name"] != "" for row in read_table(tmp_path / "given.csv")) == 12

    def test_what_was_exported_can_be_imported(self, trained, photos, folder, tmp_path):
        import_names(trained, folder)
        export_names(trained, tmp_path / "out.csv")
        assert names_in(tmp_path / "out.csv") == {name: name.split("/")[0] for name in photos.ids}

    def test_json_lists_names_and_pictures(self, trained, tmp_path):
        import_names(trained, table(tmp_path / "t.csv", [("across/00.png", "rose")]))
        export_names(trained, tmp_path / "out.json")
        found = json.loads((tmp_path / "out.json").read_text())
        assert found["format"] == 1 and found["names"] == [{"name": "rose", "pictures": 1}]
        assert found["pictures"][0] == {
            "id": "across/00.png",
            "name": "rose",
            "confidence": 1.0,
            "given": True,
            "said": "rose",
            "by": "picture",
            "sure": 5,
            "model": None,
            "probability": None,
        }
        assert found["pictures"][1]["name"] is None

    def test_coco_has_the_size_of_every_picture(self, trained, photos, tmp_path):
        rows = [("across/00.png", "bird/robin"), ("down/01.png", "tulip")]
        import_names(trained, table(tmp_path / "t.csv", rows))
        export_names(trained, tmp_path / "out.coco.json", images=photos, given=True)
        found = json.loads((tmp_path / "out.coco.json").read_text())
        assert len(found["images"]) == 30
        assert found["images"][0] == {"id": 1, "file_name": "across/00.png", "width": 16, "height": 8}
        assert found["categories"] == [
            {"id": 1, "name": "bird/robin", "supercategory": "bird"},
            {"id": 2, "name": "tulip", "supercategory": "picture"},
        ]
        first, second = found["annotations"]
        assert first["bbox"] == [0, 0, 16, 8] and first["area"] == 128 and first["category_id"] == 1
        assert found["images"][second["image_id"] - 1]["file_name"] == "down/01.png"

    def test_folders_of_links_and_of_copies(self, trained, photos, tmp_path):
        import_names(trained, table(tmp_path / "t.csv", [("across/00.png", "rose")]))
        summary = export_names(trained, tmp_path / "links", images=photos)
        assert summary is not None and summary.counts == {"rose": 1, "unnamed": 29}
        assert os.readlink(tmp_path / "links/rose/00.png") == str(tmp_path / "photos/across/00.png")
        export_names(trained, tmp_path / "copies", images=photos, copy=True)
        assert not (tmp_path / "copies/rose/00.png").is_symlink()

    def test_a_zip_holds_the_original_files_and_lists_missing_ones(self, trained, photos, tmp_path):
        import_names(trained, table(tmp_path / "t.csv", [("across/00.png", "rose")]))
        (tmp_path / "photos/down/01.png").unlink()
        export_names(trained, tmp_path / "out.zip", images=photos)
        with ZipFile(tmp_path / "out.zip") as archive:
            assert archive.testzip() is None and len(archive.namelist()) == 30
            assert archive.read("rose/00.png") == (tmp_path / "photos/across/00.png").read_bytes()
            assert archive.read("missing.txt") == b"down/01.png\n"

    def test_pictures_without_files_are_in_a_zip_as_png(self, images):
        named = NamedPictures(
            images.ids, ("a",), np.zeros(60, np.int64), np.ones(60, np.float32), np.ones(60, bool), nobody(60), images
        )
        archive = ZipFile(BytesIO(b"".join(file_formats()["zip"].chunks(named))))
        with archive.open("a/00000.png") as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), images.images[0])

    def test_formats_follow_from_the_ending(self):
        assert [names_format(out) for out in ("a.csv", "a.JSON", "a.coco.json", "a.zip")] == [
            "csv",
            "json",
            "coco",
            "zip",
        ]
        assert names_format("sorted") == "folders"
        assert names_format("a.json", "coco") == "coco"
        with pytest.raises(UserError, match=r"end it in .cleanlab.npz, .coco.json, .csv, .fiftyone.json, .json, "):
            names_format("a.xlsx")
        with pytest.raises(UserError, match="no format 'voc'"):
            names_format("a", "voc")

    def test_exports_that_cannot_be_written_are_refused(self, trained, tmp_path):
        with pytest.raises(UserError, match="no answers yet"):
            export_names(trained, tmp_path / "out.csv")
        import_names(trained, table(tmp_path / "t.csv", [("across/00.png", "rose")]))
        with pytest.raises(UserError, match="needs the pictures"):
            export_names(trained, tmp_path / "out.zip")
        (tmp_path / "taken.csv").mkdir()
        with pytest.raises(UserError, match="is a folder"):
            export_names(trained, tmp_path / "taken.csv")
        named = NamedPictures(["a"], (), np.array([-1]), np.zeros(1, np.float32), np.zeros(1, bool), nobody(1))
        with pytest.raises(UserError, match="Cannot write"):
            write_named(named, tmp_path / "t.csv" / "out.csv")


class TestCommands:
    def test_import_and_export(self, cli, trained, folder, tmp_path):
        found = cli.json("import", trained, folder)
        assert found["named"] == 30 and found["names"] == {"across": 10, "down": 10, "block": 10}
        found = cli.json("export", trained, "--out", tmp_path / "sorted", "--copy")
        assert found["kind"] == "folders" and found["folders"] == {"across": 10, "down": 10, "block": 10}
        said = cli("export", trained, "--out", tmp_path / "out.json", "--format", "coco")
        assert said.code == 0 and "Wrote" in said.out
        assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 30

    def test_words(self, cli, trained, tmp_path):
        rows = [("x/00.png", "rose"), ("nothing.png", "rose")]
        said = cli("import", trained, table(tmp_path / "t.csv", rows))
        assert "Named 1 picture: rose 1." in said.out and "Not found in the run: 1, such as" in said.out
        assert "Found by file name alone" in said.out
        assert "Had that name already: 1" in cli("import", trained, tmp_path / "t.csv").out
        assert "is thrown away" not in said.out
        thrown = cli("import", trained, table(tmp_path / "t.csv", [("block/02.png", "Ausschuss")])).out
        assert "Named 1 picture: junk 1." in thrown and "Junk is thrown away" in thrown
        refused = cli("export", trained, "--out", tmp_path / "out.csv", "--copy")
        assert refused.code == 1 and "--copy is for folders" in refused.err

    def test_suspects(self, cli, trained, folder, tmp_path):
        rows = [(path, path.split("/")[0]) for path in selfsort.load(trained).ids_]
        rows[3] = (rows[3][0], "down" if rows[3][1] != "down" else "block")
        import_names(trained, table(tmp_path / "t.csv", rows))
        found = cli.json("suspects", trained, "--out", tmp_path / "suspects.csv")["suspects"]
        assert (found[0]["id"], found[0]["name"], found[0]["other"]) == (*rows[3], rows[3][0].split("/")[0])
        first = next(read_table(tmp_path / "suspects.csv"))
        assert first["id"] == rows[3][0] and float(first["chance"]) > float(first["own_chance"])
        assert rows[3][0] in cli("suspects", trained).out
