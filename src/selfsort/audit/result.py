"""The result of an audit: what it found, and what it proposes to leave out."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.finding import Found
from selfsort.audit.findings import all_findings
from selfsort.audit.groups import TEST, VALIDATION, DuplicateGroups
from selfsort.audit.look import Looks
from selfsort.data.account import FileAccount, account_of
from selfsort.data.image_set import ImageSet
from selfsort.data.listing import Listing, Skipped, count_kinds
from selfsort.data.reading import PLAIN

_COLUMNS = tuple("id kept reason duplicate_of similarity split label width height bytes changed".split())
_SIZES = 5  # sizes listed in the summary
_HELD_OUT = {*TEST, *VALIDATION}


class DuplicateGroup(NamedTuple):
    """Pictures that show the same: the one to keep and the others.

    `across_splits` is true if one is for testing and another is not, `across_labels` if they have different labels.
    """

    keeper: int
    others: tuple[int, ...]
    across_splits: bool
    across_labels: bool


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found in N readable pictures.

    Attributes
    ----------
    images : the pictures, listed, including those that cannot be read
    unreadable : id and reason of each picture that cannot be read
    looks : what was noted of the N pictures at positions `looks.places`
    groups : the groups of duplicates
    found : the pictures that each of `all_findings` applies to, by the finding's name
    labels : (N,) as in `ImageSet`
    splits : (N,) such as "train" or "test", "" without any
    rejecting : reasons for leaving a picture out: "exact", "near" and the names of findings that reject
    seconds : duration of the audit

    """

    images: ImageSet
    unreadable: tuple[Skipped, ...]
    looks: Looks
    groups: DuplicateGroups
    found: Mapping[str, Found]
    labels: NDArray[np.int64] | None
    splits: tuple[str, ...]
    rejecting: frozenset[str]
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.looks)

    @property
    def has_files(self) -> bool:
        """Tell whether each picture is a file of its own."""
        return self.images.files is not None

    @property
    def source(self) -> str:
        """Return where the pictures come from."""
        return self.images.source

    def file(self, picture: int) -> str:
        """Return the path of a picture's file."""
        return os.path.abspath(str(self.images.originals.refs[int(self.looks.places[picture])]))

    def id(self, picture: int) -> str:
        """Return the id of a picture."""
        return self.images.ids[int(self.looks.places[picture])]

    def label(self, picture: int) -> str:
        """Return the name of a picture's label, "" if it has none."""
        label = -1 if self.labels is None else int(self.labels[picture])
        names = self.images.label_names
        return "" if label < 0 else names[label] if label < len(names) else str(label)

    @cached_property
    def duplicate(self) -> NDArray[np.bool_]:
        """Tell (N,) which pictures have another picture as keeper."""
        return np.asarray(self.groups.keepers != np.arange(len(self)), bool)

    @cached_property
    def exact(self) -> NDArray[np.bool_]:
        """Tell (N,) which pictures are equal to their keeper."""
        return self.duplicate & self.groups.exact

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """Tell (N,) which pictures show the same as their keeper without being equal to it."""
        return self.duplicate & ~self.groups.exact

    @cached_property
    def reasons(self) -> NDArray[np.str_]:
        """Return (N,) a short reason for leaving each picture out, "" if it is kept."""
        rejecting = [finding for finding in all_findings() if finding.rejects]
        why = [(finding.name, finding.name, self.found[finding.name].pictures) for finding in rejecting]
        why += [("exact", "exact duplicate", self.exact), ("near", "near duplicate", self.near)]
        reasons = np.full(len(self), "", dtype="<U32")
        for kind, words, pictures in why:
            if kind in self.rejecting:
                reasons[pictures & (reasons == "")] = words
        return reasons

    @cached_property
    def rejected(self) -> NDArray[np.bool_]:
        """Tell (N,) which readable pictures the audit proposes to leave out."""
        return np.asarray(self.reasons != "", bool)

    @cached_property
    def duplicate_groups(self) -> tuple[DuplicateGroup, ...]:
        """Return the groups of duplicates, leaks first, then the largest."""
        members: dict[int, list[int]] = {}
        for picture in np.flatnonzero(self.duplicate).tolist():
            members.setdefault(int(self.groups.keepers[picture]), []).append(picture)
        found = [self._group(keeper, others) for keeper, others in members.items()]
        return tuple(sorted(found, key=lambda group: (-leaks(group), -len(group.others), group.keeper)))

    def _group(self, keeper: int, others: list[int]) -> DuplicateGroup:
        together = [keeper, *others]
        splits = {self.splits[picture] for picture in together}
        labels = {self.label(picture) for picture in together} - {""}
        others.sort(key=lambda picture: -self.groups.similarity[picture])
        return DuplicateGroup(
            keeper, tuple(others), len(splits) > 1 and not splits.isdisjoint(_HELD_OUT), len(labels) > 1
        )

    @cached_property
    def read(self) -> Listing:
        """Return the listing of the pictures that can be read, with what was changed in reading them."""
        known = zip(self.looks.places.tolist(), self.looks.facts, strict=True)
        facts = {self.images.ids[place]: facts for place, facts in known if facts != PLAIN}
        return replace(self.images.listing.without(self.looks.failures), facts=facts)

    def account(self) -> list[FileAccount]:
        """Return what became of every file or picture of the source, by id."""
        return account_of(self.read)

    def size_counts(self) -> list[dict[str, int]]:
        """Return the most frequent sizes."""
        counts = Counter(map(tuple, self.looks.sizes.tolist()))
        return [{"width": w, "height": h, "pictures": n} for (w, h), n in counts.most_common(_SIZES)]

    def summary(self) -> dict[str, Any]:
        """Count what was found."""
        groups = self.duplicate_groups
        counts = {name: int(found.pictures.sum()) for name, found in self.found.items()}
        counts = {"exact": int(self.exact.sum()), "near": int(self.near.sum())} | counts
        return {
            "pictures": len(self) + len(self.unreadable),
            "kept": len(self) - int(self.rejected.sum()),
            "rejected": int(self.rejected.sum()) + len(self.unreadable),
            "unreadable": [row._asdict() for row in self.unreadable],
            "passed_over": dict(count_kinds(reason for _, reason in self.images.listing.passed_over)),
            "changed": dict(count_kinds(change for facts in self.looks.facts for change in facts.changes())),
            "told": list(self.images.told),
            **counts,
            "groups": len(groups),
            "least_similarity": round(self.groups.least, 3),
            "warnings": [self.groups.warning] if self.groups.warning else [],
            "leaks": {
                "across_splits": sum(group.across_splits for group in groups),
                "across_labels": sum(group.across_labels for group in groups),
            },
            "sizes": len(np.unique(self.looks.sizes, axis=0)),
            "most_frequent_sizes": self.size_counts(),
            "seconds": round(self.seconds, 1),
        }

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Yield each picture's row for the table, in the order of the source."""
        reasons = {row.id: row.reason for row in self.unreadable}
        known = {self.id(picture): picture for picture in range(len(self))}
        for name in sorted(reasons.keys() | known.keys()):
            row: dict[str, object] = {**dict.fromkeys(columns(), ""), "id": name, "kept": "no"}
            row |= self._row(known[name]) if name in known else {"reason": reasons.get(name, "")}
            yield row

    def _row(self, picture: int) -> dict[str, object]:
        looks, duplicate = self.looks, bool(self.duplicate[picture])
        found = [(finding, self.found[finding.name]) for finding in all_findings()]
        return {
            "kept": "no" if self.rejected[picture] else "yes",
            "reason": str(self.reasons[picture]),
            "duplicate_of": self.id(int(self.groups.keepers[picture])) if duplicate else "",
            "similarity": f"{self.groups.similarity[picture]:.3f}" if duplicate else "",
            "split": self.splits[picture],
            "label": self.label(picture),
            "width": int(looks.sizes[picture, 0]),
            "height": int(looks.sizes[picture, 1]),
            "bytes": int(looks.n_bytes[picture]),
            "changed": "; ".join(looks.facts[picture].changes()),
            **{k: v for finding, each in found for k, v in finding.detail(looks, each, picture).items()},
            **{finding.name: "yes" for finding, each in found if finding.flagged and each.pictures[picture]},
        }


def columns() -> tuple[str, ...]:
    """Return the columns of the table of pictures."""
    details = [name for finding in all_findings() for name in finding.details]
    return (*_COLUMNS, *details, *(finding.name for finding in all_findings() if finding.flagged))


def leaks(group: DuplicateGroup) -> bool:
    """Tell whether a group of duplicates spoils an evaluation."""
    return group.across_splits or group.across_labels
