"""Decide which client is asked about which group when several answer at once."""

import time
from collections.abc import Sequence
from typing import NamedTuple

SECONDS = 120.0
_RELOADING = 5.0  # seconds in which a closed page may come back


class _Lease(NamedTuple):
    client: str
    until: float


class Leases:
    """Groups leased to one client, for two minutes or until they are answered.

    It is not thread-safe: its owner must hold a lock.
    """

    def __init__(self) -> None:
        self._leases: dict[int, _Lease] = {}

    def take(self, client: str, waiting: Sequence[int], after: int | None = None) -> int | None:
        """Return the group to ask a client about, other than `after` if given; None if nothing is left.

        It is a group that the client has already, or else the first of those `waiting` that nobody has.
        """
        self._drop_old(waiting)
        own = (number for number, lease in self._leases.items() if lease.client == client)
        free = (number for number in waiting if number not in self._leases)
        number = next((number for number in (*own, *free) if number != after), None)
        if number is not None:
            self._leases[number] = _Lease(client, time.monotonic() + SECONDS)
        return number

    def taken(self) -> list[int]:
        """Return the groups that somebody is being asked about."""
        now = time.monotonic()
        return [number for number, lease in self._leases.items() if lease.until > now]

    def put_first(self, client: str, number: int) -> None:
        """Lease a group to a client, who is asked about it before its other groups."""
        self._leases.pop(number, None)
        others = {key: lease for key, lease in self._leases.items() if lease.client != client}
        self._leases = {number: _Lease(client, time.monotonic() + SECONDS), **others}

    def leave(self, client: str) -> None:
        """End the leases of a client whose page was closed, unless it comes back within a few seconds."""
        end = time.monotonic() + _RELOADING
        self._leases = {
            key: lease._replace(until=min(lease.until, end)) if lease.client == client else lease
            for key, lease in self._leases.items()
        }

    def is_alone(self, client: str) -> bool:
        """Tell whether no other client is working."""
        now = time.monotonic()
        return all(lease.client == client or lease.until <= now for lease in self._leases.values())

    def _drop_old(self, waiting: Sequence[int]) -> None:
        now, known = time.monotonic(), set(waiting)
        self._leases = {key: lease for key, lease in self._leases.items() if lease.until > now and key in known}
