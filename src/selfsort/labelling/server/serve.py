"""The server of the naming page and of an audit's page: where it listens, who may use it, and how it ends."""

import logging
import os
import re
import secrets
import shlex
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling.locks import label_lock
from selfsort.labelling.server.audit_review import AuditReview
from selfsort.labelling.server.service import LabelService
from selfsort.memory import return_freed_memory
from selfsort.spelling import counted

if TYPE_CHECKING:
    import uvicorn

    from selfsort.labelling.checks import Asking

FIRST_PORT = 8573
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_PORTS = 100  # number of ports tried
_EVERYWHERE = ("", "0.0.0.0", "::", "[::]", "*")


def serve(
    run: Path,
    images: ImageSet,
    *,
    port: int | None = None,
    host: str | None = None,
    password: str | None = None,
    open_browser: bool = True,
    n_groups: int | None = None,
    checks: "Asking | None" = None,
    certified: Callable[[], None] | None = None,
    moved: str | None = None,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve the naming page of a run and of the `images` that it was trained on until Ctrl-C or SIGTERM.

    It listens on a `port`, by default the first free one from 8573. Only this machine can reach it unless a `host` is
    given, the name or address by which others on a trusted network reach this machine; they enter a `password`, which
    may also come from the environment variable SELFSORT_PASSWORD. `n_groups` is the number of first groups. With
    `checks`, the sample for a certificate, the page is for checking them, and `certified` is called after every check.
    `moved` is where the pictures are, if they have moved. `say` is called with the address.

    Raises `UserError` if the run is being served already or cannot be written, or its store is damaged; for a port in
    use, a host that is not this machine, and a host without a password.
    """
    password = password or os.environ.get("SELFSORT_PASSWORD") or None
    _check_host(host, password)
    return_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_ctrl_c())
        listener = stack.enter_context(closing(listen(host, port)))
        number = listener.getsockname()[1]
        stack.enter_context(label_lock(run, number, certifying=checks is not None))
        if checks is None:
            say(f"Making rough first groups of {counted(len(images), 'picture')} …")
        again = _command(run, number, host, moved, checks is not None)
        options: dict[str, Any] = {"n_groups": n_groups, "checks": checks, "certified": certified, "moved": moved}
        with closing(LabelService(run, images, command=again, **options)) as service:
            token = kept_token(runs.RunFolder(run).label_token)
            home = f"http://{in_address(host or '127.0.0.1')}:{number}/"
            address = f"{home}?token={token}"
            say(f"{'Name the groups' if checks is None else 'Check the pictures'} at {address}")
            if host:
                say(f"Others open {home} and enter the password.")
            say("Everything is saved at once; press Ctrl-C to stop.")
            if open_browser:
                # In a thread, as some browsers block the caller until they are closed.
                threading.Thread(target=open_page, args=(address, say), name="browser", daemon=True).start()
            run_server(web_server(service, token, host, password), listener)


def serve_audit(
    review: AuditReview,
    *,
    port: int | None = None,
    open_browser: bool = True,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve the page of an audit, to this machine only, until Ctrl-C or SIGTERM; see `serve`."""
    from selfsort.labelling.server.web import make_audit_app

    with ExitStack() as stack:
        stack.enter_context(sigterm_as_ctrl_c())
        listener = stack.enter_context(closing(listen(None, port)))
        token = secrets.token_urlsafe(24)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}"
        say(f"Keep pictures or leave them out at {address}")
        say("Everything is saved at once; press Ctrl-C to stop.")
        if open_browser:
            threading.Thread(target=open_page, args=(address, say), name="browser", daemon=True).start()
        run_server(server_of(make_audit_app(review, token)), listener)


def _command(run: Path, port: int, host: str | None, moved: str | None, certifying: bool) -> str:
    """Return the command that starts this server again, which the page shows when the server is gone."""
    words = ["selfsort", "certify" if certifying else "label", str(Path(run).resolve()), "--port", str(port)]
    words += [] if moved is None else ["--images", moved]
    words += [] if host is None else ["--host", host]
    return shlex.join(words)


def kept_token(path: Path) -> str:
    """Return the previous server's token, so that its windows keep working, or a new one if none is stored safely.

    It is stored so that only its owner can read it; if it cannot be stored, the next server gets another one.
    """
    with suppress(OSError, UnicodeDecodeError):
        known = path.read_text()
        if not path.stat().st_mode & 0o077 and _TOKEN.fullmatch(known):
            return known
    token = secrets.token_urlsafe(24)
    with suppress(OSError):
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
    return token


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C, as by default it would leave a refinement running."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_host(host: str | None, password: str | None) -> None:
    if host is None:
        return
    if host in _EVERYWHERE:
        raise UserError(f"--host {host!r} is not a name: give the name or address by which others reach this machine.")
    if not password:
        raise UserError("--host lets others in: give --password, or set the environment variable SELFSORT_PASSWORD.")


def in_address(host: str) -> str:
    """Return a host as it is written in an address."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def listen(host: str | None, port: int | None) -> socket.socket:
    """Return a socket that listens on a port, by default the first free one."""
    name = "127.0.0.1" if host is None else host.strip("[]")
    for number in range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,):
        try:
            return _bound(name, number)
        except socket.gaierror:
            raise UserError(f"--host {name!r} is unknown: give a name or address of this machine.") from None
        except (OSError, OverflowError) as error:
            failure = error
    if port is None:
        raise UserError(f"Cannot listen on {name!r} ({failure}): give a name of this machine, or a --port.")
    raise UserError(f"Port {port} cannot be used ({_reason(failure)}): choose another with --port, or leave it out.")


def _bound(name: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    # Without the protocol, asyncio does not notice that this is TCP and keeps Nagle's delay: 40 ms for every answer.
    listener = socket.socket(family, kind, protocol)
    try:
        # An earlier server's closed connections may still occupy the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def open_page(address: str, say: Callable[[str], None]) -> None:
    """Open an address in the browser, or say that no browser could be opened."""
    opened = False
    with suppress(Exception):  # some systems raise, some return False
        opened = webbrowser.open(address)
    if not opened:
        say("No browser could be opened here: open the address yourself.")


def web_server(
    service: LabelService, token: str, host: str | None = None, password: str | None = None, *, framed: bool = False
) -> "uvicorn.Server":
    """Return a server for the page; with `framed`, other pages of this machine may show it in a frame."""
    from selfsort.labelling.server.web import LOCAL_HOSTS, make_app

    hosts = LOCAL_HOSTS if host is None else (*LOCAL_HOSTS, in_address(host).lower())
    return server_of(make_app(service, token, hosts=hosts, password=password if host else None, framed=framed))


def server_of(app: Any, most: int | None = None) -> "uvicorn.Server":
    """Return a server for an application; with `most`, it refuses more connections or requests at a time with a 503."""
    import uvicorn

    from selfsort.labelling.server.web.connections import ImpatientProtocol

    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else clients could claim another address
        lifespan="off",
        limit_concurrency=most,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def run_server(server: "uvicorn.Server", listener: socket.socket) -> None:
    """Serve on a socket until Ctrl-C."""
    # Do not log requests cut off by Ctrl-C, such as one that waits for the map.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    with suppress(KeyboardInterrupt):  # uvicorn has finished by then
        server.run([listener])
