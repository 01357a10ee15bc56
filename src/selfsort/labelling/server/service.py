"""The service behind the page, with which several clients name a run at once.

It needs no web framework, and every method may be called from any thread. An answer is in the store before its method
returns. Whatever takes long (spreading names, drawing the map, a refinement) happens in the background; the first
groups are rough ones, made in seconds, until there are better ones.
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
from selfsort.export.named import NamedPictures
from selfsort.labelling import label_space
from selfsort.labelling.about import About, follow_merge, read_about
from selfsort.labelling.acts import Act, Circled
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event, Group, GroupKind, Shown
from selfsort.labelling.core.borderline import shown_apart
from selfsort.labelling.core.bursts import drawn_together
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.query_tree import QueryTree
from selfsort.labelling.core.session import Judgement, Session
from selfsort.labelling.core.suspects import OwnNames, suspects
from selfsort.labelling.exchange import event_of, named_pictures, names_in_table
from selfsort.labelling.learning.centres import Decode, decoder_or_none
from selfsort.labelling.server import payloads
from selfsort.labelling.server.better_points import BetterPoints
from selfsort.labelling.server.certification import Certification
from selfsort.labelling.server.changes import Changes
from selfsort.labelling.server.embedding_map import EmbeddingMap, MapLayout
from selfsort.labelling.server.image_files import ImageFile, ImageFiles, png
from selfsort.labelling.server.jobs import TaskQueue, log_failure
from selfsort.labelling.server.journal import Conflict, Heard, Journal
from selfsort.labelling.server.leases import Leases
from selfsort.labelling.server.live import LiveLearner, LiveNames
from selfsort.labelling.server.payloads import Colours, Json, Order
from selfsort.labelling.server.people import People
from selfsort.labelling.server.refinement import Refinement, refine_command
from selfsort.labelling.server.shot_table import ShotFact, ShotTable
from selfsort.labelling.server.undoing import Following, Undoing
from selfsort.labelling.store import IMPORTED, newest_model, read_predictions

if TYPE_CHECKING:
    from selfsort.labelling.checks import Asking

_WAITING = 5.0  # seconds that a client waits for the tree if there is nothing else to ask


class Missing(UserError):
    """There is no such group, name or picture."""


class LabelService:
    """A run that is being named.

    Parameters
    ----------
    run : folder of a finished run
    images : the pictures that it was trained on
    n_groups : number of groups proposed first; by default four per class of the run
    checks : the sample to check for a certificate, if one is wanted; then no groups are proposed
    certified : called whenever a picture has been checked, and when that is taken back
    command : the command that starts the server again, for the page to show
    moved : where the pictures are, if they have moved; for refinements
    random_state : seed of everything random

    Raises
    ------
    UserError
        If the run or its store is unfinished, damaged, of another version or cannot be written, or belongs to other
        pictures.

    """

    def __init__(
        self,
        run: Path,
        images: ImageSet,
        *,
        n_groups: int | None = None,
        checks: "Asking | None" = None,
        certified: Callable[[], None] | None = None,
        moved: str | None = None,
        command: str = "",
        random_state: int = 0,
    ):
        self.run, self.images, self.random_state = Path(run), images, random_state
        self._lock = threading.RLock()
        self._tree_came = threading.Condition(self._lock)
        self._changes, self._leases, self._colours = Changes(), Leases(), Colours()
        self._files = ImageFiles(images)
        self._shots = ShotTable(self.run, images, self._changes.touch)
        self._session_payload: Json | None = None
        self._decode: Decode | None = None
        self._judged = payloads.judged(runs.RunFolder(self.run))
        self._journal = Journal(self.run)
        following = Following(self._undone, self._reload, self._check_idle)
        self._undoing = Undoing(self.run, self._journal, self._leases, self._lock, following)
        self._tasks = TaskQueue("label service")
        self._space: HeadSpace | None = None
        self._live: LiveLearner | None = None
        self._tree: QueryTree | None = None
        self._points = np.zeros((0, 1), np.float32)
        self._better = BetterPoints(self._changes.touch)
        self._n_groups, self._command = n_groups, payloads.readable(command)
        self._taken_back = 0  # results from before an undo or a new model are discarded by this counter
        self._stood_in: tuple[tuple[int, int], NDArray[np.int64]] | None = None
        self._map = EmbeddingMap(self.run, self._changes.touch)
        self.refinement = Refinement(
            lambda epochs: refine_command(self.run, epochs, moved), self._changes.touch, self._refined
        )
        self._refine_keys: set[str] = set()
        self.people = People(self._journal, self._lock, self._described, self._changes.touch)
        self._certification = (
            None if checks is None else Certification(checks, self._journal.store, self._changes.touch, certified)
        )
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all background work; everything is already in the store."""
        self.refinement.stop()
        self._better.stop()
        self._map.stop()
        self._tasks.close()
        if self._live is not None:
            self._live.close()
        self._journal.close()

    def hear(self, heard: Heard) -> None:
        """Call `heard`, within the lock, for every answer that counts or is taken back."""
        self._journal.heard = heard

    def settle(self) -> None:
        """Wait until the background work submitted so far is done, except maps and refinements."""
        self._tasks.wait()
        if self._live is not None:
            self._live.wait()

    @property
    def session(self) -> Session:
        """Return the groups and answers."""
        return self._journal.session

    @property
    def certification(self) -> Certification:
        """Return the sample that is being checked; raise `Missing` if there is none."""
        if self._certification is None:
            sentence = "There is nothing to check: start with `selfsort certify`."
            raise Missing(sentence, code="nothing-to-check", command="selfsort certify")
        return self._certification

    # What is shown

    def state(self) -> Json:
        """Return what the page always shows."""
        self._notice_others()
        with self._lock:
            if self._session_payload is None:
                self._session_payload = payloads.session_payload(
                    self.session, self._colours, read_about(self._journal.store)
                )
            checks = None if self._certification is None else self._certification.checks
            return {
                "command": self._command,
                "run": payloads.readable(self.run.resolve().name),
                "judged": self._judged,
                **self._session_payload,
                "version": self._changes.version,
                "generation": self._changes.generation,
                "map": self._map.version,
                "map_drawing": self._map.drawing,
                "set_aside": self._journal.store.set_aside,
                "repairs": [payloads.repair_payload(each) for each in self._journal.store.repairs()],
                "refinement": self.refinement.status.to_json(),
                "better_groups": self._better.progress,
                "certify": None if checks is None else {"done": checks.done, "budget": checks.budget},
            }

    def next_group(self, client: str, after: int | None = None) -> Json | None:
        """Return the group to ask a client about, the same until it is answered; other than `after`, if given.

        Nobody else is asked about it for two minutes.
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

    def shown(self, group: Group) -> Shown:
        """Return the pictures of a group that are shown."""
        return shown_apart(group, self._points)

    def centre(self, number: int) -> ImageFile:
        """Return the decoded centre of a group."""
        with self._lock:
            group, decode = self._group(number), self._decode
        if group.centre is None or decode is None:
            raise Missing(f"Group {number} has no centre that can be drawn.")
        return png(decode(group.centre))

    def map(self) -> Json:
        """Return where at most 6000 pictures are on the map, from 0 to 1, and how many pictures each represents."""
        layout = self._map.layout()
        counts = np.bincount(self._stand_ins(layout), minlength=len(self.images))
        return payloads.map_payload(layout, counts[layout.indices])

    def map_names(self) -> Json:
        """Return the colours of the pictures on the map, -1 without a name, and which of them no answer has named."""
        layout = self._map.layout()
        with self._lock:
            return payloads.map_names_payload(layout, self.session, self._colours)

    def named(self, name: str, offset: int, limit: int, order: Order, taken: ShotFact | None = None) -> Json:
        """Return pictures of a name, most doubtful or typical first; only those of a day, place or camera, if given."""
        with self._lock:
            labels = self.session.labels()
        if name not in labels.names:
            raise _no_such_name(name)
        among = None if taken is None else self._shots.of(*taken)
        return payloads.name_payload(labels, self.images.ids, name, offset, limit, order, among)

    def facts(self) -> Json:
        """Return the days, places and cameras of the pictures, as far as known, with the number of pictures of each."""
        return {"facts": self._shots.counts()}

    def suspects(self) -> Json:
        """Return the pictures whose own name the others contradict, the most suspect first."""
        with self._lock:
            named, space = OwnNames.of(self.session, self.random_state, self._shots.bursts(0)), self._space
        if space is None:
            sentence = "There are no suspects while names are being certified: start with `selfsort label`."
            raise Missing(sentence, code="no-suspects", command="selfsort label")
        # Outside the lock, as it takes some seconds.
        return {"suspects": [each._asdict() for each in suspects(named, space, self.random_state)]}

    def image(self, index: int) -> Json:
        """Return what is known of a picture."""
        self._check_index(index)
        with self._lock:
            labels = self.session.labels()
        return payloads.image_payload(labels, index, self.images.ids[index]) | {"taken": self._shots.about(index)}

    def thumbnail(self, index: int) -> ImageFile:
        """Return a picture with a longer side of at most 256 pixels."""
        self._check_index(index)
        return self._files.thumbnail(index)

    def original(self, index: int) -> ImageFile:
        """Return the original of a picture."""
        self._check_index(index)
        return self._files.original(index)

    def named_pictures(self) -> NamedPictures:
        """Return all pictures with their current names."""
        with self._lock:
            return named_pictures(self.session.labels(), self.images.ids, self.images, read_about(self._journal.store))

    # What people say; a key used before changes nothing

    def answer(self, key: str, client: str, event: Event) -> Json:
        """Record an answer about a group; return the state and the next group."""
        with self._lock:
            self._take(key, client, event)
            return {"state": self.state(), "group": self._next(client)}

    def tell(self, key: str, client: str, event: Event) -> Json:
        """Record what is said about names or single pictures; return the state."""
        with self._lock:
            self._take(key, client, event)
            if event.kind == "merge" and follow_merge(self._journal.store, event):
                self._names_changed()
            return {"state": self.state()}

    def describe(self, key: str, client: str, name: str, about: About) -> Json:
        """Store the facts about a name; return the state."""
        with self._lock:
            if name not in self.session.names():
                raise _no_such_name(name)
            self._journal.describe(key, client, name, about)
            self._names_changed()
            return {"state": self.state()}

    def import_names(self, key: str, table: bytes) -> Json:
        """Import the names in a CSV file as answers about single pictures; return the result and the state."""
        found = names_in_table(table)
        with self._lock:
            event, imported = event_of(self.session, self.images.ids, found)
            if event is not None:
                self._take(key, IMPORTED, event)
            return {"state": self.state(), "imported": imported.to_json()}

    def leave(self, client: str) -> None:
        """Let others be asked about the groups of a client whose page was closed."""
        with self._lock:
            self._leases.leave(client)

    def history(self, client: str) -> Json:
        """Return what was done, and what a client would undo and redo."""
        with self._lock:
            history, groups = self._journal.history, self.session.groups
            return payloads.history_payload(history, client, groups, lambda: self._leases.is_alone(client))

    def back_to_skipped(self, key: str, client: str) -> Json:
        """Ask again about the skipped groups; return the state and the first of them, if any."""
        with self._lock:
            waiting = set(payloads.skipped(self.session))
            again = self._journal.history.skips(waiting)
            for number, act in again.items():
                self._journal.take_back(f"{key}-{number}", client, act)
            if again:
                self._undone()
                self._leases.put_first(client, next(iter(again)))
            return {"state": self.state(), "group": self._next(client)}

    def find(self, wanted: str) -> Json:
        """Find pictures by a part of their file name or of their current name."""
        with self._lock:
            labels = self.session.labels()
        return payloads.find_payload(labels, self.images.ids, wanted)

    def undo(self, key: str, client: str) -> Json:
        """Take back a client's last act; return the state, the act, and the group that is asked again, if any.

        See `ActHistory.last` for a client that has done nothing yet.
        """
        act = self._undoing.undo(key, client)
        return self._about(act, client, act.did.group if act and isinstance(act.did, Event) else None)

    def redo(self, key: str, client: str) -> Json:
        """Do again what the client took back last, unless it did something else since; return the same as `undo`."""
        act = self._undoing.redo(key, client)
        return self._about(act, client, act.did.group if act and isinstance(act.did, Circled) else None)

    def _about(self, act: Act | None, client: str, number: int | None) -> Json:
        """Describe an act and the group with a number, if there is one, and ask about that group first."""
        with self._lock:
            group = None if number is None else self.session.groups.get(number)
            if group is not None:
                self._leases.put_first(client, group.id)
            return {
                "state": self.state(),
                "group": None if group is None else self._described(group),
                "act": None if act is None else payloads.act_payload(act, client, self.session.groups),
            }

    def lasso(
        self, key: str, client: str, members: list[int], nearby: bool = False, only_unnamed: bool = False
    ) -> Json:
        """Make a group of pictures; return it and the state.

        With `nearby`, the pictures not drawn on the map join the drawn ones nearest to them; `only_unnamed` leaves out
        pictures that an answer has named.
        """
        points = self._points
        if nearby:  # outside the lock, as the map may be being drawn
            members = np.flatnonzero(np.isin(self._stand_ins(self._map.layout()), members)).tolist()
        with self._lock:
            if only_unnamed:
                named = set(np.flatnonzero(self.session.are_covered()).tolist())
                members = [picture for picture in members if picture not in named]
            made = query_selection.lasso(self.session, members, points)
            group, is_new = self._journal.add_once(made, key, client)
            if is_new:
                self._names_changed()
            self._leases.put_first(client, group.id)
            return {"group": self._described(group), "state": self.state()}

    def gather(self, key: str, client: str, taken: ShotFact) -> Json:
        """Make a group of the pictures of a day, place or camera without an answer; return it and the state."""
        with self._lock:
            members = np.flatnonzero(self._shots.of(*taken) & ~self.session.labels().given).tolist()
        if not members:
            sentence = f"There is no picture of {taken.value!r} without an answer: look at them under Names."
            raise Missing(sentence, code="all-answered", value=taken.value)
        return self.lasso(key, client, members)

    def refine(self, key: str, client: str, epochs: int | None) -> Json:
        """Start a refinement; return the state."""
        with self._lock:
            if key not in self._refine_keys:
                self._check_refinable()
                self._refine_keys.add(key)
                self.refinement.start(epochs, key, client)
            return {"state": self.state()}

    def cancel_refinement(self) -> Json:
        """End the running refinement, if any, without a trace; return the state."""
        self.refinement.stop()
        return {"state": self.state()}

    def answer_all(self, annotator: Callable[[Group], Event], most: int) -> int:
        """Let an annotator answer one group after another, at most `most`; return how many answers it gave."""
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
        embedding, probabilities, ids = runs.read_training_arrays(folder, mapped=True)
        if ids != self.images.ids:
            raise UserError(f"{str(self.run)!r} was trained on other pictures: give them with --images.")
        predictions, stamp = read_predictions(folder, probabilities), label_space.stamp_of_run(folder)
        naming = self._certification is None  # certifying needs no points
        space = HeadSpace(embedding) if naming else None
        self._map.put(embedding, stamp, self.random_state)
        del embedding  # so that the file can be replaced, also on Windows
        points = label_space.kept_points(folder, stamp) if naming else None
        bursts = self._shots.bursts() if naming else None
        before, live = self._live, None if space is None else self._learner(space)
        with self._tree_came:
            self._journal.load(predictions)
            self.session.judgement = Judgement((), {})  # of no group yet
            self._space, self._live, self._tree, self._decode = space, live, None, None
            self._taken_back += 1
            if space is not None:
                self._points = drawn_together(label_space.rough_points(space) if points is None else points, bursts)
                self._journal.add(self._first_groups("rough" if points is None else "cluster", self._points))
            self._names_changed()
            self._learn(spreads=not predictions.names)
            self._tree_came.notify_all()
        if before is not None:
            before.close()
        self._shots.start()  # only now, if there are very many, as the first groups come first
        if naming:
            self._tasks.submit(self._improve, folder, stamp, self._points, points is None)

    def _improve(self, folder: Path, stamp: str, points: NDArray[np.float32], rough: bool) -> None:
        """Find better groups than rough ones, and build the tree of those that are asked about after them."""
        if rough and (better := self._better_points(folder, stamp)) is not None:
            better = drawn_together(better, self._shots.bursts(patience=None))
            groups = self._first_groups("cluster", better)
            with self._lock:
                if self._points is not points:  # another model was loaded meanwhile
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
            log_failure(UserError(f"The groups stay rough, as better ones could not be found: {error}"))
        return label_space.kept_points(folder, stamp)

    def _grow(self, points: NDArray[np.float32]) -> None:
        """Build the tree of groups that are asked about after the first ones."""
        tree = QueryTree(points, bursts=self._shots.bursts(), random_state=self.random_state)
        with self._tree_came:
            if self._points is points:
                self._tree = tree
                self._names_changed()
                self._tree_came.notify_all()

    def _learn_to_draw(self, folder: Path, points: NDArray[np.float32]) -> None:
        if not label_space.is_embedding(folder, points, self._shots.bursts()):  # a network can draw only embeddings
            return
        decode = decoder_or_none(folder)
        with self._lock:
            self._decode = decode
            self._changes.touch()

    def _first_groups(self, kind: GroupKind, points: NDArray[np.float32]) -> list[Group]:
        """Return the first groups to propose: rough ones if there are none, better ones if all are rough."""
        if self.session.round or (self.session.groups if kind == "rough" else self.session.has_clusters()):
            return []
        n_groups = self._n_groups
        if n_groups is None:
            run = runs.read_run(self.run)
            estimate = run["training"].get("class_count")
            n_classes = run["params"]["n_classes"] if estimate is None else estimate["estimate"]
            n_groups = query_selection.how_many(int(n_classes), len(self.images))
        if not 2 <= n_groups <= len(self.images):
            raise UserError(
                f"{len(self.images)} pictures cannot form {n_groups} groups: choose from 2 to the number of pictures."
            )
        groups = query_selection.first_groups(points, n_groups, kind=kind, random_state=self.random_state)
        # The centres of rough groups are not in the label space of the others.
        return [replace(group, centre=None) for group in groups] if kind == "rough" else groups

    def _take(self, key: str, client: str, event: Event) -> None:
        if self._journal.answer(key, client, event):
            self._names_changed()
            self._learn()

    def _learner(self, space: HeadSpace) -> LiveLearner:
        return LiveLearner(space, self._learnt, self._judged_by_others, self.random_state)

    def _learn(self, *, spreads: bool = True) -> None:
        """Judge the current answers; before that, let names spread from them, unless a model has done so already."""
        if self._live is not None and self.session.events:
            (self._live.submit if spreads else self._live.judge)(self.session, self._taken_back)

    def _judged_by_others(self, state: int, found: Judgement) -> None:
        """Store how the answers judge one another, unless some were taken back meanwhile."""
        with self._lock:
            if state == self._taken_back:
                self.session.judgement, self._session_payload = found, None
                self._changes.touch()

    def _learnt(self, state: int, found: LiveNames) -> None:
        """Use what was learnt from the answers, unless some were taken back meanwhile: then the next result follows."""
        with self._tree_came:
            if state != self._taken_back:
                return
            if len(found.names) > 1:
                self.session.learn(found.names, found.probabilities, found.answers)
            else:  # a single name does not spread, as there is nothing to distinguish it from
                self.session.forget()
            self._names_changed()
            self._tree_came.notify_all()

    def _check_refinable(self) -> None:
        if self._certification is not None:
            sentence = "A refinement would invalidate this sample: finish it, then refine with `selfsort label`."
            raise Conflict(sentence, code="spoils-sample", command="selfsort label")
        self._check_idle()
        if not any(count > 0 for _, count in self.session.counts()):
            raise Conflict("Name a group first: there is nothing to learn yet.", code="name-first")

    def _check_idle(self) -> None:
        if self.refinement.is_running:
            raise Conflict("A refinement is running already: wait until it is done.", code="refining")

    def _refined(self, key: str, client: str) -> Json:
        """Load the result of a refinement; return what it changed."""
        with self._lock:
            before = self.session.labels()
        self._reload()
        with self._lock:
            self._journal.refined(key, client)
            self._changes.touch_names()
            return payloads.changed_payload(before, self.session.labels())

    def _reload(self) -> None:
        with self._lock:
            self._journal.changed_by_others()  # so that what is read now does not count as a change later
        self._load()

    def _notice_others(self) -> None:
        """Read the store again, in the background, if another process has written to it."""
        with self._lock:
            # The service's own refinement is loaded when it is done.
            if self.refinement.is_running or not self._journal.changed_by_others():
                return
        self._tasks.submit(self._reload)

    def _undone(self) -> None:
        self._taken_back += 1
        self.session.forget_names_taken_back()  # the next result, which does so as well, takes a moment
        self._names_changed()
        self._learn()

    def _names_changed(self) -> None:
        self._session_payload = None
        self._changes.touch_names()

    def _next(self, client: str, after: int | None = None) -> Json | None:
        groups_fit = query_selection.groups_fit(self.session)
        # Groups that somebody circled or took back are asked about even if other groups are not.
        asked = self._leases.taken()
        waiting = [g.id for g in self.session.open_groups() if groups_fit or len(g.members) == 1 or g.id in asked]
        waiting += [number for number in asked if self._is_rough(number)]  # even if there are better ones now
        number = self._leases.take(client, waiting, after)
        if number is None and (query := self._query(single=not groups_fit)) is not None:
            number = self._leases.take(client, [*waiting, query.id], after)
        return None if number is None else self._described(self.session.groups[number])

    def _query(self, *, single: bool) -> Group | None:
        """Add the group, or single picture, whose answer is expected to help most; None if there is none left."""
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

    def _stand_ins(self, layout: MapLayout) -> NDArray[np.int64]:
        """Return for each picture the one on the map that represents it; computed once for each map."""
        seen = (layout.version, id(self._points))
        if self._stood_in is None or self._stood_in[0] != seen:
            self._stood_in = (seen, query_selection.stand_ins(layout.indices, self._points))
        return self._stood_in[1]

    def _is_rough(self, number: int) -> bool:
        return self.session.groups[number].kind == "rough" and number not in self.session.answered()

    def _described(self, group: Group) -> Json:
        drawn = self._decode is not None and group.centre is not None
        return payloads.group_payload(self.session, group, self.shown(group), self.images.ids, drawn=drawn)

    def _group(self, number: int) -> Group:
        if number not in self.session.groups:
            raise Missing(f"There is no group {number}.")
        return self.session.groups[number]

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self.images):
            raise Missing(f"There is no picture {index}: they are numbered from 0 to {len(self.images) - 1}.")


def _no_such_name(name: str) -> Missing:
    return Missing(f"No picture is named {name!r}: choose a name that was given.", code="no-such-name", name=name)
