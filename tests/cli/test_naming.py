"""How `label`, `refine` and exports respond if a run, its pictures or its answers have changed."""

import csv
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from commands import Cli, program
from run_files import edit
from samples import pictures, quick
from selfsort.cli.inputs import training_images, true_labels
from selfsort.data import decoding
from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import list_images, load_images
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.learning.rounds import refine_run
from selfsort.labelling.locks import label_lock, refine_lock
from selfsort.labelling.server.service import LabelService
from selfsort.runs import read_run, write_array
from selfsort.runs.manifest import describe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three kinds in class folders."""
    root = tmp_path / "photos"
    for index, pixels in enumerate(pictures(30, 16)):
        (root / f"kind-{index % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"kind-{index % 3}" / f"{index:02d}.png")
    return root


@pytest.fixture
def images(folder: Path) -> ImageSet:
    return load_images(folder, cache=False)


@pytest.fixture
def run(tmp_path: Path, images: ImageSet) -> Path:
    quick("topdown-vae", epochs=1).fit(images, run_dir=tmp_path / "run")
    return tmp_path / "run"


def answer(run: Path, images: ImageSet) -> None:
    with closing(LabelService(run, images, n_groups=6)) as service:
        service.answer_all(SimulatedAnnotator(images.labels, images.label_names).answer, 12)


@pytest.fixture
def named(run: Path, images: ImageSet) -> Path:
    answer(run, images)
    refine_run(run, images, frozen=True)
    return run


def complaint(cli: Cli, *words: object) -> str:
    """Return the sentence with which a command ends."""
    answer = cli(*words)
    assert answer.code == 1
    (line,) = answer.err.splitlines()
    assert line.startswith("selfsort: ")
    return line


class TestLabelsOfSimulate:
    def test_classes_from_selects_the_folders(self, named, folder, cli):
        for command in ("label", "certify"):
            said = complaint(cli, command, named, "--simulate", folder, "--classes-from", "none")
            assert "has no labels" in said and "--classes-from" in said
            said = complaint(cli, command, named, "--classes-from", "1")
            assert "--classes-from" in said and "--simulate" in said

    @pytest.mark.parametrize(("given", "names"), [(None, ("kind-0", "kind-1", "kind-2")), ("1", ("odd", "plain"))])
    def test_by_level(self, given, names, folder, images, tmp_path, capsys):
        for kind in range(3):
            place = tmp_path / "labelled" / ("odd" if kind == 1 else "plain") / f"kind-{kind}"
            shutil.copytree(folder / place.name, place)
        source = str(folder if given is None else tmp_path / "labelled")
        labels, found = true_labels(source, given, images, False)
        kinds = np.arange(3).repeat(10)
        assert found == names and labels.tolist() == (kinds if given is None else kinds != 1).tolist()
        assert f"classes: {', '.join(names)}" in capsys.readouterr().out


class TestPictures:
    @pytest.mark.parametrize("words", [("label", "--no-browser"), ("refine",)])
    def test_some_are_gone_or_new(self, words, run, folder, cli):
        (folder / "kind-0" / "00.png").rename(folder / "kind-1" / "new.png")
        said = complaint(cli, words[0], run, *words[1:])
        assert "1 is gone, such as 'kind-0/00.png'" in said and "1 is new, such as 'kind-1/new.png'" in said

    def test_some_look_different(self, run, folder, cli):
        shutil.copy(folder / "kind-0" / "00.png", folder / "kind-0" / "03.png")
        assert "files of the same names look different" in complaint(cli, "refine", run)

    def test_they_are_read_again_only_if_a_file_has_changed(self, folder, tmp_path, monkeypatch):
        (tmp_path / "skipped.csv").write_text("id,reason\n")
        facts = describe("frozen", {}, list_images(folder), InputSpec(20, 3))
        hashed = []
        own = decoding.content_hashes
        monkeypatch.setattr(decoding, "content_hashes", lambda originals: hashed.append(1) or own(originals))
        assert len(training_images(tmp_path, facts, None, True)) == 30 and not hashed
        (folder / "kind-0" / "00.png").touch()
        assert len(training_images(tmp_path, facts, None, True)) == 30 and len(hashed) == 1
        earlier = facts | {"data": {name: fact for name, fact in facts["data"].items() if name != "stamps"}}
        assert len(training_images(tmp_path, earlier, None, True)) == 30 and len(hashed) == 2

    def test_for_the_page_pixels_are_decoded_only_if_a_file_has_changed(self, folder, tmp_path):
        (tmp_path / "skipped.csv").write_text("id,reason\n")
        pixels = list_images(folder).decoded(InputSpec(20, 3))
        facts = describe("kmeans", {}, pixels, InputSpec(20, 3))
        facts["data"]["fingerprint"] = pixels.fingerprint()
        assert training_images(tmp_path, facts, None, True).is_decoded
        listed = training_images(tmp_path, facts, None, True, decoded=False)
        assert not listed.is_decoded and len(listed) == 30
        (folder / "kind-0" / "00.png").touch()
        assert training_images(tmp_path, facts, None, True, decoded=False).is_decoded

    def test_all_have_moved(self, run, folder, images, tmp_path, cli):
        answer(run, images)
        folder.rename(tmp_path / "elsewhere")
        said = complaint(cli, "refine", run, "--frozen")
        assert f"no longer in {str(folder)!r}: say where they are with --images" in said
        assert cli.run("refine", run, "--frozen", "--images", tmp_path / "elsewhere") == 0


class TestRefinedModel:
    def test_there_are_no_answers_to_learn_from(self, run, cli):
        assert "has no answers yet: name its groups with" in complaint(cli, "refine", run)
        assert not (run / "labels.sqlite").exists()

    def test_a_deleted_model_is_learnt_again(self, named, images, cli):
        with closing(LabelService(named, images)) as service:
            before, proposed = service.state(), set(service.session.groups)
        shutil.rmtree(named / "named")
        with closing(LabelService(named, images)) as service:
            state = service.state()
            assert [entry["name"] for entry in state["names"]] == [entry["name"] for entry in before["names"]]
            assert (state["answers"], state["round"], state["open_groups"]) == (
                before["answers"],
                1,
                before["open_groups"],
            )
            group = service.next_group("ann")
            assert group["id"] in proposed and group["round"] == 1
            service.answer("k", "ann", Event("name", group["id"], "kind-0"))
        assert cli.run("refine", named, "--frozen") == 0
        with closing(LabelService(named, images)) as service:
            assert service.state()["round"] == 2 and service.state()["answers"] == before["answers"] + 1

    @pytest.mark.parametrize("name", ["model.safetensors", "embedding.npy", "run.json"])
    def test_the_error_for_a_damaged_model_says_what_to_do(self, name, named, cli):
        os.truncate(named / "named" / name, 20)
        said = complaint(cli, "refine", named)
        assert f"delete the folder {str(named / 'named')!r}" in said and f"selfsort refine {named}" in said
        shutil.rmtree(named / "named")
        assert cli.run("refine", named, "--frozen") == 0

    @pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 90), lambda path: np.save(path, np.zeros(7))])
    def test_error_probabilities_of_an_earlier_version_are_damaged(self, damage, named, images, cli):
        write_array(named / "named" / "doubt.npy", np.zeros(len(images), np.float32))
        damage(named / "named" / "doubt.npy")
        assert "or delete it, as the next refinement" in complaint(cli, "label", named, "--no-browser")
        (named / "named" / "doubt.npy").unlink()
        with closing(LabelService(named, images)) as service:
            assert service.state()["round"] == 1


class TestTwoAtOnce:
    def test_a_model_stays_as_it_is_while_it_is_certified(self, named, cli):
        with label_lock(named, 8573, certifying=True):
            said = complaint(cli, "refine", named, "--frozen")
            assert f"is being certified already, by process {os.getpid()} on port 8573: finish or stop that" in said
        assert cli.run("refine", named, "--frozen") == 0

    def test_a_model_that_is_refined_is_not_certified(self, named, cli):
        with refine_lock(named):
            said = complaint(cli, "certify", named, "--no-browser")
            assert "is running: wait until it is done" in said
            assert "Another refinement" in complaint(cli, "refine", named)

    def test_naming_continues_while_a_model_is_refined(self, named, cli):
        with label_lock(named, 8573):
            assert cli.run("refine", named, "--frozen") == 0
        with refine_lock(named), label_lock(named):
            pass


@pytest.mark.slow
def test_a_run_of_an_earlier_version_lists_its_pictures_as_it_did(folder: Path, tmp_path: Path, cli: Cli) -> None:
    (folder / "@eaDir").mkdir()
    shutil.copy(folder / "kind-0" / "00.png", folder / "@eaDir" / "00.png")
    images = load_images(folder, cache=False, listing=1)
    quick("kmeans").fit(images, run_dir=tmp_path / "old")
    data = read_run(tmp_path / "old")["data"]
    assert data["options"].pop("listing") == 1 and data["n_images"] == 31
    edit(tmp_path / "old", data=data)
    assert cli.run("label", tmp_path / "old", "--simulate", folder, "--answers", 6) == 0
    assert cli.run("refine", tmp_path / "old", "--frozen") == 0


class TestExports:
    def test_no_spreadsheet_computes_a_name(self, run, folder, images, tmp_path, cli):
        with closing(LabelService(run, images, n_groups=3)) as service:
            for number, name in enumerate(["=1+1", "@SUM(A1)", "rose"]):
                service.answer(f"k{number}", "ann", Event("name", service.next_group("ann")["id"], name))
        refine_run(run, images, frozen=True)
        assert cli.run("predict", run, folder, "--out", tmp_path / "p.csv") == 0
        with open(tmp_path / "p.csv", newline="") as file:
            assert {row["name"] for row in csv.DictReader(file)} <= {"'=1+1", "'@SUM(A1)", "rose"}


@pytest.fixture
def slow_browser(tmp_path: Path) -> Iterator[str]:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho $$ > $0.pid\nexec sleep 600\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    yield str(program)
    while not program.with_suffix(".pid").exists():
        time.sleep(0.1)
    os.kill(int(program.with_suffix(".pid").read_text()), 9)


@pytest.mark.slow
def test_the_server_answers_while_the_browser_that_it_started_stays_open(run, slow_browser):
    words = program("label", run)
    with subprocess.Popen(
        words, env=os.environ | {"BROWSER": slow_browser}, stdout=subprocess.PIPE, text=True
    ) as server:
        found = (re.search(r"(http://\S+)/\?token=(\S+)", line) for line in server.stdout)
        home, token = next(match for match in found if match).groups()
        try:
            assert httpx.get(f"{home}/api/state", headers={"X-Selfsort-Token": token}, timeout=60).status_code == 200
        finally:
            server.terminate()


def test_without_a_browser_the_user_is_told_to_open_the_page(monkeypatch):
    from selfsort.labelling.server.serve import open_page

    said: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    open_page("http://127.0.0.1:8573/?token=x", said.append)
    assert said == ["No browser could be opened here: open the address yourself."]


def test_a_refinement_that_cannot_be_written_leaves_all_models_as_they_were(
    run: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(run, images)
    for _ in range(2):  # so that there is an earlier model
        refine_run(run, images, frozen=True, n_groups=2)
    before = sorted(path.relative_to(run) for path in run.rglob("*"))

    def full(*_: object) -> None:
        raise UserError("The disk is full.")

    monkeypatch.setattr("selfsort.labelling.label_space.keep", full)
    with pytest.raises(UserError, match="full"):
        refine_run(run, images, frozen=True, n_groups=2)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before
    assert any("named-1" in str(path) for path in before)
