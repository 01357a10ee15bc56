"""Groups leased to one client."""

import time

import pytest

from selfsort.labelling.server.leases import SECONDS, Leases


@pytest.fixture
def later(monkeypatch):
    """Return a function that lets time pass at once."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + seconds)


def test_each_client_keeps_its_own_group():
    leases = Leases()
    assert [leases.take(client, [7, 3, 5]) for client in ("ann", "bob", "ann")] == [7, 3, 7]
    assert leases.take("ann", [7, 3, 5], after=7) == 5
    assert leases.take("carl", [7, 3, 5]) is None


def test_answered_groups_are_released():
    leases = Leases()
    leases.take("ann", [7, 3])
    assert leases.take("bob", [3]) == 3, "7 no longer waits"
    assert leases.take("ann", [7, 3]) == 7


def test_a_lease_ends(later):
    leases = Leases()
    leases.take("ann", [7])
    assert not leases.is_alone("bob") and leases.take("bob", [7]) is None
    later(SECONDS + 1)
    assert leases.is_alone("bob") and leases.take("bob", [7]) == 7


def test_a_closed_page_releases_its_groups_unless_it_was_only_reloaded(later):
    leases = Leases()
    for client, group in (("ann", 7), ("carl", 3)):
        assert leases.take(client, [7, 3]) == group
        leases.leave(client)
    assert leases.take("bob", [7, 3]) is None, "they may come back at once"
    assert leases.take("carl", [7, 3]) == 3
    later(6)
    assert leases.take("bob", [7, 3]) == 7
    assert leases.take("dora", [7, 3]) is None, "carl came back"


def test_a_group_is_put_before_the_others_of_a_client_and_taken_from_another():
    leases = Leases()
    leases.take("ann", [7, 3])
    leases.take("bob", [7, 3])
    leases.put_first("bob", 7)
    assert leases.take("bob", [7, 3]) == 7
    assert leases.take("ann", [7, 3]) == 3
