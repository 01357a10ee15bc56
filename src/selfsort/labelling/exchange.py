"""Import names into a run and export them: what `selfsort import` and `selfsort export` do."""

import csv
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.export.named import NamedPictures, Said, file_formats, names_format, write_named
from selfsort.export.sort import SortSummary
from selfsort.labelling.about import About, read_about
from selfsort.labelling.core.answers import Event, cleaned
from selfsort.labelling.core.head import HeadSpace, spread
from selfsort.labelling.core.replay import Labels
from selfsort.labelling.core.session import Session
from selfsort.labelling.core.suspects import OwnNames, Suspect, chances_by_others, suspects
from selfsort.labelling.kept_shots import kept_shots, shots_of
from selfsort.labelling.store import IMPORTED, Store, load_session, newest_model
from selfsort.runs import RunFolder
from selfsort.spelling import folded, visible
from selfsort.tables import read_table, rows_of


@dataclass(frozen=True)
class Imported:
    """The result of importing names.

    Attributes
    ----------
    named : pictures that got a name
    already : pictures that already had this name of their own
    by_file_name : named pictures that were found by their file name alone
    unknown : ids that are not pictures of the run
    names : number of pictures that got each name, most first

    """

    named: int
    already: int
    by_file_name: int
    unknown: tuple[str, ...]
    names: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"unknown": list(self.unknown), "names": dict(self.names)}


def import_names(run: str | Path, source: str | Path, *, classes_from: str | int | None = None) -> Imported:
    """Give pictures of a run the names that a `source` has for them, as answers about single pictures.

    `source` is a CSV file with the columns "id" and "name" (if there is a column "given", rows with 0 are ignored),
    another run folder, whose answers are copied, or pictures in class folders, listed as by `load_images` with
    `classes_from`. An open page of the run shows the names at once.

    Raises
    ------
    UserError
        If the source cannot be read or names no picture of the run, or if the run's answers are damaged.

    """
    run = Path(run)
    found = names_in(source, classes_from=classes_from)
    with closing(Store.open(run)) as store:
        session = load_session(store, run)
        event, imported = event_of(session, _ids_of(run), found, repr(str(source)))
        if event is not None:
            session.check(event)
            store.add_event(secrets.token_hex(16), IMPORTED, event)
    return imported


def names_in(source: str | Path, *, classes_from: str | int | None = None) -> dict[str, str]:
    """Return the names that a source has, by picture id; see `import_names`."""
    path = Path(source)
    if path.suffix.lower() == ".csv":
        try:
            return _named_rows(read_table(path), str(path))
        except UserError:
            raise
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{str(path)!r} cannot be read as a table: {_reason(error)}.") from error
    if RunFolder(path).manifest.is_file():
        return _names_of_run(path)
    listed = list_images(str(source), classes_from=classes_from)
    if listed.labels is None:
        raise UserError(
            f"{str(source)!r} has no class folders to take names from: give class folders, or a CSV of id and name."
        )
    return {
        name: listed.label_names[label] for name, label in zip(listed.ids, listed.labels, strict=True) if label >= 0
    }


def names_in_table(data: bytes) -> dict[str, str]:
    """Return the names in the bytes of a CSV file, by picture id; see `import_names`."""
    try:
        return _named_rows(rows_of(data), "The table")
    except UserError:
        raise
    except (ValueError, csv.Error) as error:
        raise UserError(f"The table cannot be read: {_reason(error)}.", code="table") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()


def _named_rows(rows: Iterable[Mapping[str, str]], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        if not {"id", "name"} <= row.keys():
            columns = ", ".join(map(repr, row)) or "none"
            sentence = f"{what} needs the columns 'id' and 'name' but has {columns}: rename them."
            raise UserError(sentence, code="table-columns", columns=columns)
        # From a table written by selfsort, only what people said: a model's predictions are not answers.
        name = row.get("said", row["name"] if row.get("given") != "0" else "")
        if visible(name):
            found[row["id"]] = name
    return found


def _names_of_run(run: Path) -> dict[str, str]:
    with closing(Store.open(run, create=False)) as store:
        labels = load_session(store, run).labels()
    ids = _ids_of(run)
    return {ids[place]: labels.names[labels.said[place]] for place in np.flatnonzero(labels.said >= 0).tolist()}


def _ids_of(run: Path) -> Sequence[str]:
    return runs.read_training_arrays(run)[2]


def event_of(
    session: Session, ids: Sequence[str], found: Mapping[str, str], what: str = "The table"
) -> tuple[Event | None, Imported]:
    """Return the answer that gives pictures the names `found` by their ids, None if it would change nothing.

    An unknown id counts as that of the only picture with the same file name, if there is one. Names that differ from
    known ones only in case and spaces become those.

    Raises
    ------
    UserError
        If no id belongs to a picture, or a name is too long.

    """
    places, by_file_name, unknown = _placed(ids, found)
    if not places:
        why = f"its ids are like {next(iter(found))!r}, the run's like {ids[0]!r}" if found else "it has no names"
        sentence = f"{what} names no picture of the run, as {why}: give ids as the run has them."
        raise UserError(sentence, code="table-foreign")
    settled = _settled(session.names(), places.values())
    names, by_hand = session.names(), session.by_hand()
    wanted = {place: settled[name] for place, name in places.items()}
    new = {place: name for place, name in wanted.items() if by_hand[place] < 0 or names[by_hand[place]] != name}
    counts = dict(Counter(new.values()).most_common())
    already = len(wanted) - len(new)
    imported = Imported(len(new), already, len(by_file_name & new.keys()), tuple(unknown), counts)
    if not new:
        return None, imported
    number = {name: place for place, name in enumerate(counts)}
    chosen = tuple(number[name] for name in new.values())
    return Event("assign", pictures=tuple(new), names=tuple(counts), chosen=chosen, distinct=True), imported


def _placed(ids: Sequence[str], found: Mapping[str, str]) -> tuple[dict[int, str], set[int], list[str]]:
    """Return the names by picture position, the positions found by file name alone, and the unknown ids."""
    place_of = {name: place for place, name in enumerate(ids)}
    places = {place_of[name]: given for name, given in found.items() if name in place_of}
    others = [name for name in found if name not in place_of]
    leaves = Counter(map(_leaf, others))
    own = Counter(map(_leaf, ids))
    of_leaf = {_leaf(name): place for place, name in enumerate(ids) if own[_leaf(name)] == 1}
    by_file_name, unknown = set[int](), list[str]()
    for name in others:
        place = of_leaf.get(_leaf(name)) if leaves[_leaf(name)] == 1 else None
        if place is None or place in places:
            unknown.append(name)
        else:
            places[place] = found[name]
            by_file_name.add(place)
    return places, by_file_name, unknown


def _leaf(image_id: str) -> str:
    return image_id.replace("\\", "/").rpartition("/")[2]


def _settled(known: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return what each name becomes: cleaned, and unified with names that look the same."""
    same = {folded(name): name for name in reversed(known)}
    settled = {}
    for name, _ in Counter(wanted).most_common():
        clean = cleaned(name)
        settled[name] = clean if clean in known else same.setdefault(folded(clean), clean)
    return settled


def export_names(
    run: str | Path,
    out: str | Path,
    *,
    images: ImageSet | None = None,
    format: str | None = None,
    copy: bool = False,
    given: bool = False,
) -> SortSummary | None:
    """Write the names that the pictures of a run have now, given by answers or spread from them.

    `format` is "folders" or the `NAME` of a module in `selfsort.export.formats`; if None, the suffix of `out` decides.
    Those that `needs_pictures` names need the `images` of the run. `copy` makes folders of copies instead of links;
    `given` writes what people said and leaves out names that spread.

    Raises
    ------
    UserError
        As in `write_named`, and if nothing has been named.

    """
    run = Path(run)
    kind = names_format(out, format)
    with closing(Store.open(run, create=False)) as store:
        session = load_session(store, run)
        embedding, _, ids = runs.read_training_arrays(newest_model(store, run))
        about = read_about(store)
    _spread(session, embedding)
    named = named_pictures(session.labels(), ids, images, about)
    named = named.only_given() if given else named
    if getattr(file_formats().get(kind), "NEEDS_CHANCES", False):
        named = named._replace(chances=_chances(session, run, embedding, ids, named.names))
    if not (named.name_of >= 0).any():
        raise UserError(f"No picture of {str(run)!r} has a name yet: name its groups with `selfsort label {run}`.")
    return write_named(named, out, format=kind, copy=copy)


def find_suspects(run: str | Path, images: ImageSet | None = None) -> list[tuple[str, Suspect]]:
    """Return pictures of a run, with their ids, whose own (imported or single) name the others contradict.

    The most suspect come first. No picture is judged by frames of its own burst; bursts are those that the run keeps,
    or that are read from its `images`, and without either unknown.

    Raises `UserError` if the run has no answers, or they are damaged.
    """
    run = Path(run)
    with closing(Store.open(run, create=False)) as store:
        session = load_session(store, run)
        embedding, _, ids = runs.read_training_arrays(newest_model(store, run))
    shots = kept_shots(run, ids) if images is None else shots_of(run, images)
    named = OwnNames.of(session, bursts=None if shots is None else shots.bursts())
    return [(ids[each.picture], each) for each in suspects(named, HeadSpace(embedding))]


def _chances(
    session: Session, run: Path, embedding: NDArray[np.float32], ids: Sequence[str], names: Sequence[str]
) -> NDArray[np.float32]:
    """Return the (N, K) chances of the `names` by heads that did not learn from the answers about the picture."""
    shots = kept_shots(run, ids)
    own = OwnNames.of(session, bursts=None if shots is None else shots.bursts())
    known, found = own.targets.names, np.zeros((len(ids), len(names)), np.float32)
    if len(known) > 1:
        found[:, [names.index(name) for name in known]] = chances_by_others(own, HeadSpace(embedding))
    return found


def _spread(session: Session, embedding: NDArray[np.float32]) -> None:
    """Let names spread from answers that no model has learnt yet, as they do on the page."""
    if len(session.events) > session.learnt_from:
        found = spread(HeadSpace(embedding), session.targets(), session.denied())
        if len(found.names) > 1:
            session.learn(*found)


def needs_pictures(kind: str) -> bool:
    """Tell whether a format needs the pictures themselves."""
    known = file_formats()
    return kind not in known or bool(known[kind].NEEDS_PICTURES)


def named_pictures(
    labels: Labels, ids: Sequence[str], images: ImageSet | None, about: Mapping[str, About]
) -> NamedPictures:
    """Return pictures with the names that a session gives them, and the facts `about` these.

    The confidence is how sure the person was who gave the current name, divided by 5, or else the chance that the model
    is right.
    """
    by_model = np.where(labels.name_of == labels.model, labels.probability, labels.confidence)
    confidence = np.where(labels.given, labels.sure / 5, by_model).astype(np.float32)
    said = Said(labels.said, labels.single, labels.sure, labels.model, labels.probability)
    known = {name: each.to_json() for name, each in about.items()}
    return NamedPictures(ids, labels.names, labels.name_of, confidence, labels.given, said, images, known)
