"""The account of a source: what became of every file or picture found in it, and why."""

from typing import Literal, NamedTuple

from selfsort.data.listing import Listing, count_files, summarise_skipped
from selfsort.data.reading import PLAIN

Outcome = Literal["used", "changed", "left out"]


class FileAccount(NamedTuple):
    """What became of a file or picture.

    Attributes
    ----------
    id : its path within the source, or its number
    outcome : "used" as it is, "changed" if part of it is not shown or was converted, or "left out"
    details : what was changed or why it was left out, and whether it is a link; "" if there is nothing to say

    """

    id: str
    outcome: Outcome
    details: str


COLUMNS = FileAccount._fields


def account_of(listing: Listing) -> list[FileAccount]:
    """Return what became of everything in a source, by id; for undecoded pictures, as far as their paths tell."""
    rows = [_of_picture(listing, name) for name in listing.ids]
    rows += [FileAccount(name, "left out", reason) for name, reason in (*listing.skipped, *listing.passed_over)]
    rows += [FileAccount(name, "left out", "of another split") for name in listing.elsewhere]
    return sorted(rows)


def _of_picture(listing: Listing, name: str) -> FileAccount:
    facts, remark = listing.facts.get(name, PLAIN), listing.remarks.get(name, "")
    details = "; ".join([*facts.changes(), *([remark] if remark else [])])
    return FileAccount(name, "used" if facts == PLAIN else "changed", details)


def summarise_account(listing: Listing) -> str:
    """Summarise in one line what was changed or left out, and why; "" if nothing was.

    Other splits are not counted: nobody asked for them.
    """
    known = [listing.facts[name] for name in listing.ids if name in listing.facts]
    parts = (
        summarise_skipped(listing.skipped),
        count_files(len(listing.passed_over), "passed over", (reason for _, reason in listing.passed_over)),
        count_files(len(known), "changed", (change for facts in known for change in facts.changes())),
    )
    return "; ".join(filter(None, parts))
