"""Facts about names, and names such as bird/robin."""

import json
from contextlib import closing

import numpy as np
import pytest

from export_samples import array_set, folder_set
from selfsort.errors import UserError
from selfsort.export.formats import json_list
from selfsort.export.sort import sort_images
from selfsort.labelling.about import About
from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.service import LabelService, Missing


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as opened:
        opened.tell("a", "ann", Event("assign", pictures=(0, 1), names=("bird / robin", "bird"), chosen=(0, 1)))
        yield opened


def about_of(service: LabelService, name: str) -> dict[str, str]:
    return next(each["about"] for each in service.state()["names"] if each["name"] == name)


def test_parts_of_a_name_have_no_spaces_around_them(service):
    assert {each["name"] for each in service.state()["names"]} == {"bird/robin", "bird"}
    service.tell("b", "ann", Event("assign", pictures=(2,), names=("/bird//robin/",), chosen=(0,)))
    assert service.image(2)["name"] == "bird/robin" and len(service.state()["names"]) == 2
    with pytest.raises(UserError, match="empty"):
        service.tell("c", "ann", Event("assign", pictures=(3,), names=(" / ",), chosen=(0,)))


def test_a_second_person_sees_the_description_even_after_a_restart(service, run, images):
    service.describe("k2", "ann-1", "bird", About.of("  any bird\nthat flies ", "penguins:\n  ask Ann\n", "#3F90DA"))
    expected = {"description": "any bird that flies", "note": "penguins:\nask Ann", "colour": "#3f90da"}
    assert about_of(service, "bird") == expected and about_of(service, "bird/robin") == {}
    service.close()
    with closing(LabelService(run, images)) as again:
        assert about_of(again, "bird") == expected
        again.describe("k1", "ann-1", "bird", About())
        assert about_of(again, "bird") == {}


def test_facts_follow_a_renaming_and_a_merged_name_keeps_its_own(service):
    service.describe("k2", "ann-1", "bird", About("any bird"))
    service.tell("b", "ann", Event("merge", name="fowl", names=("bird",)))
    assert about_of(service, "fowl") == {"description": "any bird"}
    service.undo("c", "ann")
    assert about_of(service, "bird") == {"description": "any bird"}
    service.describe("k0", "ann-1", "bird/robin", About("a robin"))
    service.tell("d", "ann", Event("merge", name="bird", names=("bird/robin",)))
    assert about_of(service, "bird") == {"description": "any bird"}


def test_facts_are_exported_with_the_names(service):
    service.describe("k2", "ann-1", "bird", About("any bird", colour="#102030"))
    found = json.loads(b"".join(json_list.chunks(service.named_pictures())))
    bird = next(each for each in found["names"] if each["name"] == "bird")
    assert (bird["description"], bird["colour"]) == ("any bird", "#102030") and "note" not in bird


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("x" * 201, "", ""), "description has 201 characters"),
        (("", "x" * 2001, ""), "note has 2,001 characters"),
        (("", "", "red"), "'red' is not a colour"),
    ],
)
def test_invalid_facts_are_refused(service, given, words):
    with pytest.raises(UserError, match=words):
        About.of(*given)
    with pytest.raises(Missing):
        service.describe("k3", "ann-1", "cat", About("no such name"))


def test_folders_are_nested(tmp_path):
    names = {0: "bird", 1: "bird/robin", 2: "bird/..", 3: "cat"}
    images = folder_set(tmp_path / "in", ["robin", "a.jpg", "b.jpg", "c.jpg"])
    summary = sort_images(images, np.array([0, 1, 2, 3]), tmp_path / "out", mode="link", n_clusters=4, names=names)
    assert summary.counts == {"bird": 1, "bird/robin": 1, "bird/_": 1, "cat": 1}
    assert (tmp_path / "out/bird/robin/a.jpg").is_symlink() and (tmp_path / "out/bird/_/b.jpg").is_symlink()
    assert (tmp_path / "out/bird/robin__1").is_symlink(), "the picture gives way to the folder of its name"
    pngs = array_set(["robin"])
    sort_images(pngs, np.array([1]), tmp_path / "pngs", mode="copy", n_clusters=2, names={0: "bird", 1: "bird/robin"})
    assert (tmp_path / "pngs/bird/robin/robin.png").exists()
