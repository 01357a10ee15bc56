"""Finding pictures by file name or name, and going back to skipped groups."""

from contextlib import closing

import pytest

from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.service import LabelService


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as opened:
        yield opened


def test_pictures_are_found_by_their_file_names_and_by_their_names(service, images):
    assert service.find("0007")["pictures"][0]["id"] == images.ids[7]
    assert service.find("array")["total"] == 60 and service.find("nothing like it")["total"] == 0
    service.tell("a", "ann", Event("assign", pictures=(3, 9), names=("Red Rose",), chosen=(0, 0)))
    found = service.find("red ro")
    assert [each["index"] for each in found["pictures"]] == [3, 9] and found["pictures"][0]["name"] == "Red Rose"


def test_skipped_groups_are_asked_about_again_the_first_one_first(service):
    skipped = []
    for number in range(3):
        skipped.append(service.next_group("ann")["id"])
        service.answer(f"s{number}", "ann", Event("skip", skipped[-1]))
    named = service.next_group("ann")["id"]
    service.answer("n", "ann", Event("name", named, "cat"))
    assert service.state()["skipped"] == 3 and service.state()["open_groups"] == 2
    for _ in range(2):  # the same request twice changes nothing more
        reply = service.back_to_skipped("back", "ann")
        assert reply["group"]["id"] == skipped[0]
        assert reply["state"]["skipped"] == 0 and reply["state"]["open_groups"] == 5
    assert set(service.session.answered()) == {named}
    service.answer("again", "ann", Event("name", skipped[0], "dog"))
    assert service.back_to_skipped("none", "ann")["group"]["id"] not in (named, skipped[0]), "nothing is left"


def test_groups_skipped_before_a_refinement_do_not_wait(service):
    service.answer("s", "ann", Event("skip", service.next_group("ann")["id"]))
    assert service.state()["skipped"] == 1
    service.session.begin_round()
    service._names_changed()
    assert service.state()["skipped"] == 0
