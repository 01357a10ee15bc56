"""The naming page from Python: served by a thread, shown in a frame or a tab, with every answer available at once."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from selfsort import runs
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event
from selfsort.labelling.core.session import Session
from selfsort.labelling.learning.label_session import tell_if_junk
from selfsort.labelling.locks import label_lock
from selfsort.labelling.server.jobs import TaskQueue
from selfsort.labelling.server.serve import listen, open_page, web_server
from selfsort.labelling.server.service import LabelService

if TYPE_CHECKING:
    from selfsort.methods.base import Estimator

_STARTING = 30.0  # seconds that the server may take to answer
# Browsers send the page's cookie only in a frame of the same host, which notebooks call by either of two names.
_FRAME = """<iframe id="{frame}" style="width: 100%; height: {height}px; border: 1px solid #8884"></iframe>
<p><a href="{address}" target="_blank" rel="noopener">Open the page in a tab</a></p>
<script>
document.getElementById("{frame}").src = location.hostname === "localhost"
  ? "{address}".replace("//127.0.0.1:", "//localhost:") : "{address}";
</script>"""


class LabelPage:
    """A naming page served by a thread of this process; a notebook shows it in a frame.

    >>> import tempfile, selfsort
    >>> digits = selfsort.load_images("digits")
    >>> model = selfsort.KMeans().fit(digits)
    >>> with model.label(digits, run=f"{tempfile.mkdtemp()}/digits", n_groups=20) as page:
    ...     page.assign([0, 10, 20], "zero")
    ...     page.names()[digits.ids[10]], len(page.answers)
    ('zero', 1)

    Parameters
    ----------
    run : folder of a finished run
    images : the pictures that it was trained on
    n_groups : number of groups proposed first; by default four per class of the run
    port : port to listen on; by default the first free one from 8573
    height : height of the frame in a notebook, in pixels

    Attributes
    ----------
    address : address of the page, with its token

    Raises
    ------
    UserError
        If the run is being served already or cannot be written, its store is damaged, or it has other pictures.

    """

    def __init__(
        self,
        run: str | Path,
        images: ImageSet,
        *,
        n_groups: int | None = None,
        port: int | None = None,
        height: int = 820,
    ):
        self._height = height
        self._listeners: list[Callable[[Event, bool], None]] = []
        with ExitStack() as stack:
            listener = stack.enter_context(closing(listen(None, port)))
            number = listener.getsockname()[1]
            stack.enter_context(label_lock(Path(run), number))
            self._service = stack.enter_context(closing(LabelService(Path(run), images, n_groups=n_groups)))
            self._told = stack.enter_context(closing(TaskQueue("answers heard")))
            self._service.hear(self._hear)
            token = secrets.token_urlsafe(24)
            server = web_server(self._service, token, framed=True)
            self.address = f"http://127.0.0.1:{number}/?token={token}"
            thread = threading.Thread(target=server.run, args=([listener],), name="naming page", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            _wait(lambda: server.started or not thread.is_alive())
            self._open = stack.pop_all()

    def close(self) -> None:
        """Stop the server; every answer is already stored in the run."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """Show the page in a frame of a notebook."""
        return _FRAME.format(frame=f"selfsort-{secrets.token_hex(4)}", address=self.address, height=self._height)

    def open(self) -> None:
        """Open the page in a browser tab, or say that no browser could be opened."""
        open_page(self.address, print)

    @property
    def session(self) -> Session:
        """Return the current groups and answers; read them, but do not change them."""
        return self._service.session

    @property
    def answers(self) -> tuple[Event, ...]:
        """Return all answers in force, oldest first."""
        return tuple(self.session.events)

    def names(self) -> dict[str, str]:
        """Return the current names of pictures, by their ids, including names that spread."""
        rows = self._service.named_pictures().rows()
        return {row.id: row.name for row in rows if row.name is not None}

    def assign(self, pictures: Sequence[int], name: str) -> None:
        """Name single pictures by position, as a person on the page would; the page shows the names at once."""
        tell_if_junk(name)
        chosen = (0,) * len(pictures)
        event = Event("assign", pictures=tuple(int(each) for each in pictures), names=(name,), chosen=chosen)
        self._service.tell(secrets.token_hex(16), "python", event)

    def on_answer(self, heard: Callable[[Event, bool], None]) -> None:
        """Call `heard(event, taken_back)` after every answer from now on, in order.

        It is called in a separate thread; an exception is logged, and the function is still called for later answers.
        """
        self._listeners.append(heard)

    def wait_for(self, answers: int, seconds: float = float("inf")) -> bool:
        """Wait at most `seconds` until this many answers are in force; return whether they are."""
        return _wait(lambda: len(self.session.events) >= answers, seconds)

    def _hear(self, event: Event, taken_back: bool) -> None:
        for heard in self._listeners:
            self._told.submit(heard, event, taken_back)


def _wait(condition: Callable[[], bool], seconds: float = _STARTING) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def label(
    model: "Estimator",
    images: Any = None,
    *,
    run: str | Path | None = None,
    tab: bool = False,
    n_groups: int | None = None,
    port: int | None = None,
    height: int = 820,
) -> LabelPage:
    """Open a page to name the groups of a fitted model, and return it; a notebook shows it in a frame.

    `images` are the pictures that the model was fitted to; by default they are loaded again from their source. The
    answers are kept in the folder `run`; by default it is the one in which the model was fitted or from which it was
    loaded. If it is new, the model is saved there first. With `tab`, the page opens in a browser tab. See `LabelPage`
    for the other parameters.

    Raises
    ------
    UserError
        If the model is not fitted, there is no run folder, or the pictures are not the model's.

    """
    if not hasattr(model, "embedding_"):
        raise UserError(f"This {type(model).__name__} is not fitted yet: call fit first.")
    folder = _run_of(model) if run is None else Path(run)
    pictures = _pictures_of(model) if images is None else as_image_set(images)
    if pictures.ids != model.ids_:
        raise UserError("These are not the pictures that the model was fitted to: give those as images.")
    if not runs.RunFolder(folder).manifest.exists():
        model.save(folder)
    page = LabelPage(folder, pictures, n_groups=n_groups, port=port, height=height)
    if tab:
        page.open()
    return page


def _run_of(model: "Estimator") -> Path:
    folder: Path | None = getattr(model, "run_dir_", None)
    if folder is None:
        raise UserError("There is no folder to keep the answers in: give a new one, such as run='runs/names'.")
    return folder.parent if runs.RunFolder(folder).is_refined() else folder


def _pictures_of(model: "Estimator") -> ImageSet:
    data = model.run_["data"]
    if data["source"] == "array":
        raise UserError("The model was fitted to an array in memory: give its pictures as images.")
    options = {name: value for name, value in data["options"].items() if name not in ("size", "channels", "resize")}
    listed, known = list_images(data["source"], **options), set(model.ids_)
    return listed.without([(place, "") for place, name in enumerate(listed.ids) if name not in known])
