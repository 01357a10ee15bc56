"""What the page asks for and what people say on it: a run that several clients name at once.

No web framework is needed here; every method may be called from any thread. An answer is in the store before its
method returns. Whatever takes long - spreading names, drawing the map, a refinement - happens in the background; the
first groups are rough ones, made in seconds, until there are better ones.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling import label_space
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event, Group, GroupKind
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.query_tree import QueryTree
from selfsort.labelling.core.session import Session
from selfsort.labelling.learning.centres import Decode, decoder_or_none
from selfsort.labelling.server import payloads
from selfsort.labelling.server.better_points import BetterPoints
from selfsort.labelling.server.certification import Certification
from selfsort.labelling.server.changes import Changes
from selfsort.labelling.server.embedding_map import EmbeddingMap
from selfsort.labelling.server.image_files import ImageFile, ImageFiles, png
from selfsort.labelling.server.jobs import TaskQueue, log_failure
from selfsort.labelling.server.journal import Conflict, Journal
from selfsort.labelling.server.leases import Leases
from selfsort.labelling.server.live import LiveLearner, LiveNames
from selfsort.labelling.server.payloads import Colours, Json, Order
from selfsort.labelling.server.refinement import Refinement, refine_command
from selfsort.labelling.store import newest_model, opinion_of

if TYPE_CHECKING:
    from selfsort.labelling.checks import Checks

_WAITING = 5.0  # seconds that a client waits for the tree when there is nothing else to ask


class Missing(UserError):
    """There is no such group, name or picture."""


class LabelService:
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
        self._lock = threading.RLock()
        self._tree_came = threading.Condition(self._lock)
        self._changes, self._leases, self._colours = Changes(), Leases(), Colours()
        self._files = ImageFiles(images)
        self._session_payload: Json | None = None
        self._decode: Decode | None = None
        self._judged = payloads.judged(runs.RunFolder(self.run))
        self._journal = Journal(self.run)
        self._tasks = TaskQueue("label service")
        self._live: LiveLearner | None = None
        self._tree: QueryTree | None = None
        self._points = np.zeros((0, 1), np.float32)
        self._better = BetterPoints(self._changes.touch)
        self._n_groups = n_groups
        self._taken_back = 0  # what was learnt before an answer was taken back, or a model came, is not taken over
        self._map = EmbeddingMap(self.run, self._changes.touch)
        self.refinement = Refinement(
            lambda epochs: refine_command(self.run, epochs, moved), self._changes.touch, self._reload
        )
        self._refine_keys: set[str] = set()
        self._certification = (
            None if checks is None else Certification(checks, self._journal.store, self._changes.touch, certified)
        )
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what runs in the background; everything is in the store already."""
        self.refinement.stop()
        self._better.stop()
        self._tasks.close()
        if self._live is not None:
            self._live.close()
        self._journal.close()

    def settle(self) -> None:
        """Wait until the work in the background that was begun so far is done; maps and refinements apart."""
        self._tasks.wait()
        if self._live is not None:
            self._live.wait()

    @property
    def session(self) -> Session:
        """Return the groups and answers."""
        return self._journal.session

    @property
    def certification(self) -> Certification:
        """Return the sample that is being checked; raises `Missing` when there is none."""
        if self._certification is None:
            raise Missing("There is nothing to check: start with `selfsort certify`.")
        return self._certification

    # What is shown

    def state(self) -> Json:
        """Return what the page always shows."""
        self._notice_others()
        with self._lock:
            if self._session_payload is None:
                self._session_payload = payloads.session_payload(self.session, self._colours)
            checks = None if self._certification is None else self._certification.checks
            return {
                "run": payloads.readable(self.run.resolve().name),
                "judged": self._judged,
                **self._session_payload,
                "version": self._changes.version,
                "generation": self._changes.generation,
                "map": self._map.version,
                "refinement": self.refinement.status.to_json(),
                "better_groups": self._better.progress,
                "certify": None if checks is None else {"done": checks.done, "budget": checks.budget},
            }

    def next_group(self, client: str, after: int | None = None) -> Json | None:
        """Return the group to ask a client about, the same until it is answered; another than `after`, if given.

        For two minutes nobody else is asked about it.
        """
        self._notice_others()
        with self._tree_came:
            found = self._next(client, after)
            if found is None and after is None and self._tree is None:
                self._tree_came.wait_for(lambda: self._tree is not None, _WAITING)
                found = self._next(client, after)
            return found

    def group(self, number: int) -> Json:
        """Return any group, answered or not."""
        with self._lock:
            return self._described(self._group(number))

    def centre(self, number: int) -> ImageFile:
        """Return the decoded centre of a group."""
        with self._lock:
            group, decode = self._group(number), self._decode
        if group.centre is None or decode is None:
            raise Missing(f"Group {number} has no centre that can be drawn.")
        return png(decode(group.centre))

    def map(self) -> Json:
        """Return the places of at most 6000 pictures in the plane, from 0 to 1."""
        return payloads.map_payload(self._map.layout())

    def map_names(self) -> Json:
        """Return the colours of the pictures on the map, -1 without a name."""
        layout = self._map.layout()
        with self._lock:
            return payloads.map_names_payload(layout, self.session.labels(), self._colours)

    def named(self, name: str, offset: int, limit: int, order: Order) -> Json:
        """Return pictures of a name, the most doubtful or the most typical first."""
        with self._lock:
            labels = self.session.labels()
        if name not in labels.names:
            raise Missing(f"No picture is named {name!r}: choose a name that was given.")
        return payloads.name_payload(labels, name, offset, limit, order)

    def image(self, index: int) -> Json:
        """Return what is known of a picture."""
        self._check_index(index)
        with self._lock:
            return payloads.image_payload(self.session.labels(), index, self.images.ids[index])

    def thumbnail(self, index: int) -> ImageFile:
        """Return a picture with at most 256 pixels to a side."""
        self._check_index(index)
        return self._files.thumbnail(index)

    def original(self, index: int) -> ImageFile:
        """Return a picture as it is."""
        self._check_index(index)
        return self._files.original(index)

    def labels_csv(self, bom: bool = False) -> bytes:
        """Return id, name, confidence and given of all pictures as a CSV file, with a `bom` for Excel."""
        with self._lock:
            labels = self.session.labels()
        return payloads.labels_csv(labels, self.images.ids, bom)

    # What people say; a key that was used before changes nothing

    def answer(self, key: str, client: str, event: Event) -> Json:
        """Take an answer about a group; return the state and the next group."""
        with self._lock:
            self._take(key, client, event)
            return {"state": self.state(), "group": self._next(client)}

    def tell(self, key: str, client: str, event: Event) -> Json:
        """Take what is said about names or single pictures; return the state."""
        with self._lock:
            self._take(key, client, event)
            return {"state": self.state()}

    def leave(self, client: str) -> None:
        """Let others be asked about the groups of a client whose page was closed."""
        with self._lock:
            self._leases.leave(client)

    def undo(self, key: str, client: str) -> Json:
        """Take back the client's last answer in force; return the state and the group that is asked again, if any.

        A client that has given none may take back the last of all while nobody else is at work.
        """
        with self._lock:
            if self._journal.undo(key, client, lambda: self._leases.is_alone(client)):
                self._taken_back += 1
                self._names_changed()
                self._learn()
            group = self._journal.undone_group(key)
            if group is not None:
                self._leases.put_first(client, group.id)
            return {"state": self.state(), "group": None if group is None else self._described(group)}

    def lasso(self, key: str, client: str, members: list[int], nearby: bool = False) -> Json:
        """Make a group of pictures; return it and the state.

        With `nearby`, the pictures that are not drawn on the map go with those that are nearest to them.
        """
        points = self._points
        if nearby:  # not within the lock: the map may be drawn just now
            members = query_selection.with_undrawn(members, self._map.layout().indices, points)
        with self._lock:
            made = query_selection.lasso(self.session, members, points)
            group, is_new = self._journal.add_once(made, key, client)
            if is_new:
                self._names_changed()
            self._leases.put_first(client, group.id)
            return {"group": self._described(group), "state": self.state()}

    def refine(self, key: str, epochs: int | None) -> Json:
        """Start a refinement; return the state."""
        with self._lock:
            if key not in self._refine_keys:
                self._check_refinable()
                self._refine_keys.add(key)
                self.refinement.start(epochs)
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

    # How it works

    def _load(self) -> None:
        """Read the session, and the embedding of the newest model."""
        folder = newest_model(self._journal.store, self.run)
        embedding, probabilities, ids = runs.read_training_arrays(folder)
        if ids != self.images.ids:
            raise UserError(f"{str(self.run)!r} was trained on other pictures: give those with --images.")
        opinion, stamp = opinion_of(folder, probabilities), label_space.stamp_of(embedding)
        naming = self._certification is None  # who only checks does not wait for points
        space = HeadSpace(embedding) if naming else None
        points = label_space.kept_points(folder, stamp) if naming else None
        before, live = self._live, None if space is None else LiveLearner(space, self._learnt, self.random_state)
        with self._tree_came:
            self._journal.load(opinion)
            self._live, self._tree, self._decode = live, None, None
            self._taken_back += 1
            if space is not None:
                self._points = label_space.rough_points(space) if points is None else points
                self._journal.add(self._first_groups("rough" if points is None else "cluster", self._points))
            self._names_changed()
            if not opinion.names:
                self._learn()
            self._tree_came.notify_all()
        if before is not None:
            before.close()
        self._map.put(embedding, stamp, self.random_state)
        if naming:
            self._tasks.submit(self._improve, folder, stamp, self._points, points is None)

    def _improve(self, folder: Path, stamp: str, points: NDArray[np.float32], rough: bool) -> None:
        """Find better groups than rough ones, and make the tree of those that are asked about after them."""
        if rough and (better := self._better_points(folder, stamp)) is not None:
            groups = self._first_groups("cluster", better)
            with self._lock:
                if self._points is not points:  # another model was read meanwhile
                    return
                self._points = points = better
                self._journal.add(groups)
                self._names_changed()
        if not self._better.stopped:
            self._grow(points)
            self._learn_to_draw(folder, points)

    def _better_points(self, folder: Path, stamp: str) -> NDArray[np.float32] | None:
        try:
            self._better.compute(folder, self.random_state)
        except OSError as error:
            log_failure(UserError(f"The groups stay rough, for better ones could not be found: {error}"))
        return label_space.kept_points(folder, stamp)

    def _grow(self, points: NDArray[np.float32]) -> None:
        """Make the tree of groups that are asked about after those proposed first."""
        tree = QueryTree(points, random_state=self.random_state)
        with self._tree_came:
            if self._points is points:
                self._tree = tree
                self._names_changed()
                self._tree_came.notify_all()

    def _learn_to_draw(self, folder: Path, points: NDArray[np.float32]) -> None:
        if not label_space.is_embedding(folder, points):  # a network draws nothing else
            return
        decode = decoder_or_none(folder)
        with self._lock:
            self._decode = decode
            self._changes.touch()

    def _first_groups(self, kind: GroupKind, points: NDArray[np.float32]) -> list[Group]:
        """Return the groups to propose first: rough ones where there are none, others where there are only those."""
        if self.session.round or (self.session.groups if kind == "rough" else self.session.has_clusters()):
            return []
        n_groups = self._n_groups
        if n_groups is None:
            run = runs.read_run(self.run)
            estimate = run["training"].get("class_count")
            n_classes = run["params"]["n_classes"] if estimate is None else estimate["estimate"]
            n_groups = query_selection.how_many(int(n_classes), len(self.images))
        if not 2 <= n_groups <= len(self.images):
            raise UserError(f"{n_groups} groups cannot be made of {len(self.images)} pictures: choose from 2 to that.")
        groups = query_selection.first_groups(points, n_groups, kind=kind, random_state=self.random_state)
        # The centres of rough ones are no points of the space in which the others are.
        return [replace(group, centre=None) for group in groups] if kind == "rough" else groups

    def _take(self, key: str, client: str, event: Event) -> None:
        if self._journal.answer(key, client, event):
            self._names_changed()
            self._learn()

    def _learn(self) -> None:
        """Let the names spread from the answers as they are now."""
        if self._live is not None and self.session.events:
            self._live.submit(self.session, self._taken_back)

    def _learnt(self, state: int, found: LiveNames) -> None:
        """Take over what the answers led to, unless some were taken back meanwhile: then the next comes soon."""
        with self._tree_came:
            if state != self._taken_back:
                return
            if len(found.names) > 1:
                self.session.learn(found.names, found.probabilities, found.answers)
            else:  # one name alone does not spread: there is nothing yet that it could be told from
                self.session.forget()
            self._names_changed()
            self._tree_came.notify_all()

    def _check_refinable(self) -> None:
        if self._certification is not None:
            raise Conflict("A refinement would make this sample useless: finish it and refine with `selfsort label`.")
        if self.refinement.is_running:
            raise Conflict("A refinement is running already: wait until it is done.")
        if not any(count > 0 for _, count in self.session.counts()):
            raise Conflict("Name a group first: there is nothing yet to learn.")

    def _reload(self) -> None:
        with self._lock:
            self._journal.changed_by_others()  # what is read now is not news later
        self._load()

    def _notice_others(self) -> None:
        """Read the store again, in the background, when another process has written to it."""
        with self._lock:
            # Our own refinement is read when it is done.
            if self.refinement.is_running or not self._journal.changed_by_others():
                return
        self._tasks.submit(self._reload)

    def _names_changed(self) -> None:
        self._session_payload = None
        self._changes.touch_names()

    def _next(self, client: str, after: int | None = None) -> Json | None:
        groups_fit = query_selection.groups_fit(self.session)
        # What somebody circled or took back is asked about also where other groups are not.
        asked = self._leases.taken()
        waiting = [g.id for g in self.session.open_groups() if groups_fit or len(g.members) == 1 or g.id in asked]
        waiting += [number for number in asked if self._is_rough(number)]  # and also where there are better ones now
        number = self._leases.take(client, waiting, after)
        if number is None and (query := self._query(single=not groups_fit)) is not None:
            number = self._leases.take(client, [*waiting, query.id], after)
        return None if number is None else self._described(self.session.groups[number])

    def _query(self, *, single: bool) -> Group | None:
        """Add the group, or single picture, whose answer helps most; None where no answer would put much right."""
        if self._tree is None:
            return None
        left_out = np.zeros(len(self.images), np.bool_)
        for number in self._leases.taken():
            left_out[self.session.groups[number].members] = True
        query = self._tree.next(self.session, left_out, single=single)
        if query is None:
            return None
        (added,) = self._journal.add([query])
        self._names_changed()
        return added

    def _is_rough(self, number: int) -> bool:
        return self.session.groups[number].kind == "rough" and number not in self.session.answered()

    def _described(self, group: Group) -> Json:
        drawn = self._decode is not None and group.centre is not None
        return payloads.group_payload(self.session, group, drawn=drawn)

    def _group(self, number: int) -> Group:
        if number not in self.session.groups:
            raise Missing(f"There is no group {number}.")
        return self.session.groups[number]

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self.images):
            raise Missing(f"There is no picture {index}: they are numbered from 0 to {len(self.images) - 1}.")
