"""The desk at which people sit: a session with its store and pictures, shared by several clients at once.

No web framework is needed here; every method may be called from any thread. An answer is in the store before its
method returns. Whatever takes long - splitting a group, drawing the map, a refinement - happens in the background.
"""

import csv
import io
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.files import cell_text
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.session import Event, Group, shown
from selfsort.labelling.learning.centres import Decode, decoder_or_none
from selfsort.labelling.places import Points
from selfsort.labelling.server import improvement, pictures
from selfsort.labelling.server.embedding_map import Atlas
from selfsort.labelling.server.improvement import Improvement, Progress
from selfsort.labelling.store import Store, Stored, load_session, newest_model, opinion_of

if TYPE_CHECKING:
    from selfsort.labelling.checks import Checks

Json = dict[str, Any]
_log = logging.getLogger(__name__)
_LEASE = 120.0  # seconds for which a group is asked of one client only
_SPLITTING = 5.0  # seconds that a client waits for the parts of a mixed group when there is nothing else to ask


class Missing(UserError):
    """There is no such group, name or picture."""


class Conflict(UserError):
    """It cannot be done now, though it is not wrong in itself."""


class Desk:
    """A run that is being named.

    Parameters
    ----------
    run : run folder, finished
    images : the pictures that it was trained on
    n_groups : groups to propose first; four to each class of the run when None
    checks : the sample to be checked for a certificate, if one is wanted; then no groups are proposed
    certified : called whenever the last picture of the sample has been checked, and when that is taken back
    moved : where the pictures are, if not where the run found them; for refinements
    random_state : seed of everything random

    Raises
    ------
    UserError
        When the run or its store is unfinished, damaged, of another version or cannot be written, or belongs to other
        pictures.

    """

    def __init__(
        self,
        run: Path,
        images: ImageSet,
        *,
        n_groups: int | None = None,
        checks: "Checks | None" = None,
        certified: Callable[[], None] | None = None,
        moved: str | None = None,
        random_state: int = 0,
    ):
        self.run, self.images, self.random_state = Path(run), images, random_state
        self.refine_command = partial(improvement.command, moved=moved)
        self.checks, self._certified = checks, certified
        self.store = Store.open(self.run)
        self._lock = threading.RLock()
        self._parts_came = threading.Condition(self._lock)
        self._leases: dict[int, tuple[str, float]] = {}
        self._colours: dict[str, int] = {}
        self._version = 0
        self._facts: Json | None = None
        self._improvement: Improvement | None = None
        self._improved: set[str] = set()
        self._progress = Progress()
        self._decode: Decode | None = None
        self._worker = ThreadPoolExecutor(1, "desk")
        self._atlas = Atlas(self.run, self._touch)
        self._foreign = self.store.foreign_changes()
        try:
            self._load()
            if self.checks is None and not self.session.groups:
                self._propose(n_groups)
        except BaseException:
            self.close()
            raise
        self._later(self._split)

    def close(self) -> None:
        """End what runs in the background; everything is in the store already."""
        if self._improvement is not None:
            self._improvement.stop()
        self._worker.shutdown(cancel_futures=True)
        self.store.close()

    def settle(self) -> None:
        """Wait until the work in the background that was begun so far is done; maps and refinements apart."""
        self._worker.submit(lambda: None).result()

    # What is shown

    def state(self) -> Json:
        """Return what the page always shows."""
        self._notice_others()
        with self._lock:
            if self._facts is None:
                self._facts = self._session_facts()
            checking = None if self.checks is None else {"done": self.checks.done, "budget": self.checks.budget}
            now = {"version": self._version, "improve": self._progress.to_json(), "certify": checking}
            return self._facts | now

    def next_group(self, client: str, after: int | None = None) -> Json | None:
        """Return the group to ask a client about, the same until it is answered; another than `after`, if given.

        For two minutes nobody else is asked about it.
        """
        self._notice_others()
        with self._parts_came:
            found = self._next(client, after)
            if found is None and after is None and self.session.unsplit():
                self._parts_came.wait_for(lambda: self.session.open_groups(), _SPLITTING)
                found = self._next(client, after)
            return found

    def group(self, number: int) -> Json:
        """Return any group, answered or not."""
        with self._lock:
            return self._described(self._group(number))

    def centre(self, number: int) -> bytes:
        """Return the decoded centre of a group as a PNG file."""
        with self._lock:
            group, decode = self._group(number), self._decode
        if group.centre is None or decode is None:
            raise Missing(f"Group {number} has no centre that can be drawn.")
        return pictures.png(decode(group.centre))

    def map(self) -> Json:
        """Return the places of at most 6000 pictures in the plane, from 0 to 1."""
        layout = self._atlas.layout()
        places = zip(layout.pictures.tolist(), layout.points.round(4).tolist(), strict=True)
        return {"version": layout.version, "kind": layout.kind, "points": [[row, x, y] for row, (x, y) in places]}

    def map_names(self) -> Json:
        """Return the colours of the pictures on the map, -1 without a name."""
        layout = self._atlas.layout()
        with self._lock:
            self.state()
            labels = self.session.labels()
            colours = np.array([*(self._colours[name] for name in labels.names), -1])
            return {"version": layout.version, "names": colours[labels.name_of[layout.pictures]].tolist()}

    def named(self, name: str, offset: int, limit: int, order: str) -> Json:
        """Return pictures of a name, the most doubtful or the most typical first."""
        with self._lock:
            labels = self.session.labels()
            if name not in labels.names:
                raise Missing(f"No picture is named {name!r}: choose a name that was given.")
            members = np.flatnonzero(labels.name_of == labels.names.index(name))
            confidence = labels.confidence[members]
            ranked = members[np.argsort(confidence if order == "doubtful" else -confidence, kind="stable")]
            rows = [self._labelled(int(index)) for index in ranked[offset : offset + limit]]
            return {"name": name, "total": len(members), "pictures": rows}

    def picture(self, index: int) -> Json:
        """Return what is known of a picture."""
        self._check_picture(index)
        with self._lock:
            labels = self.session.labels()
            number = int(labels.name_of[index])
            name = labels.names[number] if number >= 0 else None
            return {"id": readable(self.images.ids[index]), "name": name, **self._labelled(index)}

    def thumbnail(self, index: int) -> bytes:
        """Return a picture as the run has it, as a PNG file."""
        self._check_picture(index)
        return pictures.png(self.images.images[index])

    def full(self, index: int) -> tuple[bytes, str]:
        """Return a picture as large as its file has it, and its media type."""
        self._check_picture(index)
        return pictures.full(self.images, index)

    def labels_csv(self) -> bytes:
        """Return id, name, confidence and given of all pictures as a CSV file."""
        with self._lock:
            labels = self.session.labels()
        names = [*map(cell_text, labels.names), ""]
        columns = labels.name_of.tolist(), labels.confidence.tolist(), labels.given.tolist()
        with io.StringIO(newline="") as text:
            writer = csv.writer(text)
            writer.writerow(["id", "name", "confidence", "given"])
            for name, number, confidence, given in zip(self.images.ids, *columns, strict=True):
                writer.writerow([name, names[number], f"{confidence:.4g}" if number >= 0 else "", int(given)])
            return text.getvalue().encode("utf-8", "surrogateescape")

    # What people say; a key that was used before changes nothing

    def answer(self, key: str, client: str, event: Event) -> Json:
        """Take an answer about a group; return the state and the next group."""
        with self._lock:
            self._take(key, client, event)
            reply = {"state": self.state(), "group": self._next(client)}
        if event.kind == "mixed":
            self._later(self._split)
        return reply

    def tell(self, key: str, client: str, event: Event) -> Json:
        """Take what is said about names or single pictures; return the state."""
        with self._lock:
            self._take(key, client, event)
            return {"state": self.state()}

    def undo(self, key: str, client: str) -> Json:
        """Take back the client's last answer in force; return the state and the group that is asked again, if any.

        A client that has given none may take back the last of all while nobody else is at work.
        """
        with self._lock:
            if not self.store.knows(key):
                self._undo_last(key, client)
            event = self.store.undone_by(key)
            group = None if event is None or event.group is None else self.session.groups.get(event.group)
            if group is not None:
                self._lease_first(group, client)
            return {"state": self.state(), "group": None if group is None else self._described(group)}

    def lasso(self, key: str, client: str, members: list[int], nearby: bool = False) -> Json:
        """Make a group of pictures; return it and the state.

        With `nearby`, the pictures that are not drawn on the map go with those that are nearest to them.
        """
        points = self._points()  # not within the lock: the first call may take minutes
        if nearby:
            members = query_selection.with_undrawn(members, self._atlas.layout().pictures, points)
        with self._lock:
            made = query_selection.lasso(self.session, members, points)
            added = self.store.add_groups([made], key=key, client=client)
            if not added:
                raise Conflict("This key was used for something else before: send a new one.")
            if added[0].id not in self.session.groups:
                self.session.add(added)
                self._changed()
            self._lease_first(added[0], client)
            return {"group": self._described(added[0]), "state": self.state()}

    def improve(self, key: str, epochs: int | None) -> Json:
        """Start a refinement; return the state."""
        with self._lock:
            if key not in self._improved:
                self._check_improvable()
                self._improved.add(key)
                words = self.refine_command(self.run, epochs)
                self._improvement = Improvement(words, self._advance, self._reload)
                self._improvement.start()
            return {"state": self.state()}

    def answer_all(self, annotator: Callable[[Group], Event], most: int) -> int:
        """Let an annotator answer group after group, `most` at most; return how many answers it gave."""
        for given in range(most):
            self.settle()
            asked = self.next_group("annotator")
            if asked is None:
                return given
            self.answer(secrets.token_hex(16), "annotator", annotator(self.session.groups[asked["id"]]))
        self.settle()
        return most

    # The certificate

    def next_check(self) -> Json:
        """Return the next picture to check with the name that the model gives it, and at the end the certificate."""
        with self._lock:
            checks = self._sample()
            picture, certificate = checks.next(), checks.certificate()
            opinion: Json = {"name": None, "confidence": None}
            if picture is not None:
                name = checks.names[int(checks.predicted[picture])]
                opinion = {"name": name, "confidence": round(float(checks.confidence[picture]), 4)}
            return {
                "picture": picture,
                **opinion,
                "done": checks.done,
                "budget": checks.budget,
                "names": list(checks.names),
                "certificate": None if certificate is None else certificate.to_json(),
            }

    def add_check(self, key: str, client: str, picture: int, name: str) -> Json:
        """Take what a picture really shows; return what `next_check` returns."""
        with self._lock:
            checks, name = self._sample(), self._sample().settle(name)
            if not self.store.knows(key):
                if picture != checks.next():
                    raise Conflict(f"Picture {picture} is not the one to check now: load the page again.")
                name = checks.settle(name)
                if self.store.add_check(key, client, picture, name):
                    checks.record(picture, name)
                    self._touch()
                    if checks.certificate() is not None and self._certified is not None:
                        self._certified()
            return self.next_check()

    def undo_check(self, key: str) -> Json:
        """Take the last check back; return what `next_check` returns."""
        with self._lock:
            checks = self._sample()
            if not self.store.knows(key):
                # The store also keeps the checks of earlier samples.
                if not checks.done or not self.store.undo_check(key):
                    raise Conflict("There is no check to take back.")
                was_complete = checks.next() is None
                checks.undo()
                self._touch()
                if was_complete and self._certified is not None:
                    self._certified()
            return self.next_check()

    def _sample(self) -> "Checks":
        if self.checks is None:
            raise Missing("There is nothing to check: start with `selfsort certify`.")
        return self.checks

    # How it works

    def _load(self) -> None:
        """Read the session, and the embedding of the newest model."""
        folder = newest_model(self.store, self.run)
        embedding, probabilities, ids = runs.read_training_arrays(folder)
        if ids != self.images.ids:
            raise UserError(f"{str(self.run)!r} was trained on other pictures: give those with --images.")
        opinion = opinion_of(folder, probabilities)
        points = Points(folder, embedding, random_state=self.random_state)
        # Who only checks does not wait for them.
        plain = self.checks is None and np.array_equal(points(), embedding)
        with self._parts_came:
            self.session = load_session(self.store, self.run, opinion)
            self._points = points
            self._stored = self.store.events()
            self._decode = None
            self._changed()
            self._parts_came.notify_all()
        self._atlas.put(embedding, self.random_state)
        if plain:  # a network draws nothing but points of its embedding
            self._later(self._learn_to_draw, folder)

    def _later(self, task: Callable[..., None], *arguments: Any) -> None:
        """Do something in the background, one thing after the other."""
        self._worker.submit(task, *arguments).add_done_callback(_report)

    def _learn_to_draw(self, folder: Path) -> None:
        decode = decoder_or_none(folder)
        with self._lock:
            self._decode = decode
            self._touch()

    def _propose(self, n_groups: int | None) -> None:
        if n_groups is None:
            n_classes = int(runs.read_run(self.run)["params"]["n_classes"])
            n_groups = query_selection.how_many(n_classes, len(self.images))
        if not 2 <= n_groups <= len(self.images):
            raise UserError(f"{n_groups} groups cannot be made of {len(self.images)} pictures: choose from 2 to that.")
        made = query_selection.first_groups(self._points(), n_groups, random_state=self.random_state)
        self.session.add(self.store.add_groups(made))
        self._changed()

    def _split(self) -> None:
        """Cut the groups that were called mixed into parts; what is not done when a server dies, the next one does."""
        with self._lock:
            waiting, points, first = self.session.unsplit(), self._points, self.session.next_id()
        for group in waiting:
            parts = query_selection.split(group, points(), random_state=self.random_state, first_id=first)
            with self._parts_came:
                # The answer may have been taken back meanwhile.
                if group.id in (other.id for other in self.session.unsplit()):
                    self.session.add(self.store.add_groups(parts))
                    self._changed()
                    self._parts_came.notify_all()

    def _take(self, key: str, client: str, event: Event) -> None:
        if self.store.knows(key):
            return
        self.session.check(event)
        seq = self.store.add_event(key, client, event)
        if seq:
            self._stored.append(Stored(seq, key, client, event))
            self.session.apply(event)
            self._changed()

    def _undo_last(self, key: str, client: str) -> None:
        own = [place for place, item in enumerate(self._stored) if item.client == client]
        if not own and self._is_alone(client):  # in a new tab, perhaps next week: who else can have answered?
            own = list(range(len(self._stored)))
        if not own:
            raise Conflict("There is no answer of yours to take back.")
        if self.store.undo(key, self._stored[own[-1]].seq):
            self.session.undo(own[-1])
            del self._stored[own[-1]]
            self._changed()

    def _check_improvable(self) -> None:
        if self.checks is not None:
            raise Conflict("A refinement would make this sample useless: finish it and improve with `selfsort label`.")
        if self._progress.state == "running":
            raise Conflict("A refinement is running already: wait until it is done.")
        if sum(count > 0 for _, count in self.session.counts()) < 2:
            raise Conflict("Name groups of at least two kinds first: there is nothing yet to tell apart.")

    def _advance(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress
            self._touch()

    def _reload(self) -> None:
        self._foreign = self.store.foreign_changes()
        self._load()
        self._split()

    def _notice_others(self) -> None:
        """Read the store again, in the background, when another process has written to it."""
        changes = self.store.foreign_changes()
        with self._lock:
            # Our own refinement is read when it is done.
            if changes == self._foreign or self._progress.state == "running":
                return
            self._foreign = changes
        self._later(self._reload)

    def _touch(self) -> None:
        """Let the page notice a change; later servers' versions are larger than those of earlier ones."""
        with self._lock:
            self._version = max(self._version + 1, int(time.time() * 1000))

    def _changed(self) -> None:
        self._facts = None
        self._touch()

    def _session_facts(self) -> Json:
        session = self.session
        for name in session.names():
            self._colours.setdefault(name, len(self._colours))
        counts = [{"name": name, "count": count, "colour": self._colours[name]} for name, count in session.counts()]
        estimate = session.estimate()
        return {
            "run": readable(self.run.resolve().name),
            "pictures": session.n_images,
            "covered": session.covered(),
            "answers": len(session.events),
            "open_groups": len(session.open_groups()),
            "round": session.round,
            "names": counts,
            "estimate": None if estimate is None else estimate._asdict(),
            "can_undo": bool(session.events),
            "shape": list(self.images.image_shape),
            "labels_csv": "/api/labels.csv",
        }

    def _next(self, client: str, after: int | None = None) -> Json | None:
        """Lease a group to a client: one that it has already, else the best that nobody has."""
        now = time.monotonic()
        groups = {group.id: group for group in self.session.open_groups()}
        self._leases = {number: lease for number, lease in self._leases.items() if lease[1] > now and number in groups}
        own = [number for number, (holder, _) in self._leases.items() if holder == client]
        free = (number for number in groups if number not in self._leases)
        number = next((number for number in (*own, *free) if number != after), None)
        if number is None:
            return None
        self._leases[number] = (client, now + _LEASE)
        return self._described(groups[number])

    def _is_alone(self, client: str) -> bool:
        now = time.monotonic()
        return all(holder == client or until <= now for holder, until in self._leases.values())

    def _lease_first(self, group: Group, client: str) -> None:
        """Lease a group to a client, to be asked before the others that it has."""
        others = {number: lease for number, lease in self._leases.items() if lease[0] != client and number != group.id}
        self._leases = {group.id: (client, time.monotonic() + _LEASE), **others}

    def _described(self, group: Group) -> Json:
        seen = shown(group)
        drawn = self._decode is not None and group.centre is not None
        return {
            "id": group.id,
            "size": len(group.members),
            "round": group.round,
            "kind": group.kind,
            "parent": group.parent,
            "depth": self._depth(group),
            "centre": f"/api/groups/{group.id}/centre.png" if drawn else None,
            **{row: list(members) for row, members in seen._asdict().items()},
            "gain": round(self.session.gain(group), 2),
            "suggestion": self.session.suggestion(group),
        }

    def _depth(self, group: Group) -> int:
        depth = 0
        while group.parent is not None:
            group, depth = self.session.groups[group.parent], depth + 1
        return depth

    def _group(self, number: int) -> Group:
        if number not in self.session.groups:
            raise Missing(f"There is no group {number}.")
        return self.session.groups[number]

    def _labelled(self, index: int) -> Json:
        labels = self.session.labels()
        confidence, given = round(float(labels.confidence[index]), 4), bool(labels.given[index])
        return {"index": index, "confidence": confidence, "given": given}

    def _check_picture(self, index: int) -> None:
        if not 0 <= index < len(self.images):
            raise Missing(f"There is no picture {index}: they are numbered from 0 to {len(self.images) - 1}.")


def _report(done: "Future[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.error("%s", error, exc_info=None if isinstance(error, UserError) else error)


def readable(name: str) -> str:
    """Return a file's name as text; bytes that are none are shown as replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
