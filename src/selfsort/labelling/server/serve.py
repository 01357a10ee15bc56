"""The server of the naming page: where it listens, who may call it, and how it ends."""

import logging
import os
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling.locks import label_lock
from selfsort.labelling.server.service import LabelService

if TYPE_CHECKING:
    from selfsort.labelling.checks import Checks

FIRST_PORT = 8573
_PORTS = 100  # that are tried
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
    checks: "Checks | None" = None,
    certified: Callable[[], None] | None = None,
    moved: str | None = None,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve the naming page of a run and of the `images` that it was trained on until Ctrl-C or SIGTERM.

    It listens on a `port`, the first free one from 8573 when None, of this machine only or, with a `host`, of the name
    or address by which others on a trusted network reach it; they give a `password`, which may also come from the
    environment variable SELFSORT_PASSWORD. `n_groups` are proposed first. With `checks`, the sample for a certificate,
    there is a page to check them, and `certified` is called whenever the last of them has been. `moved` is where the
    pictures are, if not where the run found them. `say` is told the address.

    Raises `UserError` when the run is served already, cannot be written, or its store is damaged, for a port in use, a
    host that is not this machine, and a host without a password.
    """
    password = password or os.environ.get("SELFSORT_PASSWORD") or None
    _check_host(host, password)
    with ExitStack() as stack:
        stack.enter_context(_sigterm_as_ctrl_c())
        listener = stack.enter_context(closing(listen(host, port)))
        number = listener.getsockname()[1]
        stack.enter_context(label_lock(run, number, certifying=checks is not None))
        if checks is None:
            say(f"Grouping {len(images):,} pictures, roughly at first …")
        with closing(
            LabelService(run, images, n_groups=n_groups, checks=checks, certified=certified, moved=moved)
        ) as service:
            token = secrets.token_urlsafe(24)
            home = f"http://{_in_address(host or '127.0.0.1')}:{number}/"
            address = f"{home}?token={token}"
            say(f"{'Name the groups' if checks is None else 'Check the pictures'} at {address}")
            if host:
                say(f"Others open {home} and give the password.")
            say("Everything is kept at once; Ctrl-C ends.")
            if open_browser:
                # Not waited for: some browsers keep the one who starts them until they are closed.
                threading.Thread(target=open_page, args=(address, say), name="browser", daemon=True).start()
            _run(service, token, listener, host, password)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: by default it would leave a refinement running."""
    if threading.current_thread() is not threading.main_thread():  # only that one may
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
        raise UserError(f"--host {host!r} is no name: give the name or address by which others reach this machine.")
    if not password:
        raise UserError("--host needs --password, or the environment variable SELFSORT_PASSWORD: others can reach it.")


def _in_address(host: str) -> str:
    return f"[{host.strip('[]')}]" if ":" in host else host


def listen(host: str | None, port: int | None) -> socket.socket:
    """Return a socket that listens on a port, the first free one when None."""
    name = "127.0.0.1" if host is None else host.strip("[]")
    for number in range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,):
        try:
            return _bound(name, number)
        except socket.gaierror:
            raise UserError(f"--host {name!r} is not known: give a name or address of this machine.") from None
        except (OSError, OverflowError) as error:
            failure = error
    if port is None:
        raise UserError(f"Nothing can listen on {name!r} ({failure}): give a name of this machine, or a --port.")
    raise UserError(f"Port {port} cannot be used ({_reason(failure)}): choose another with --port, or leave that out.")


def _bound(name: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    # Without the protocol asyncio does not see that this is TCP and leaves Nagle's delay on: 40 ms for every answer.
    listener = socket.socket(family, kind, protocol)
    try:
        # Another server may still hold connections that are over.
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
    """Open an address in the browser, or say that it cannot be opened here."""
    opened = False
    with suppress(Exception):  # some systems raise, some return False
        opened = webbrowser.open(address)
    if not opened:
        say("No browser could be opened here: open the address yourself.")


def _run(service: LabelService, token: str, listener: socket.socket, host: str | None, password: str | None) -> None:
    import uvicorn

    from selfsort.labelling.server.web import LOCAL_HOSTS, make_app

    hosts = LOCAL_HOSTS if host is None else (*LOCAL_HOSTS, _in_address(host).lower())
    app = make_app(service, token, hosts=hosts, password=password if host else None)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    # A request that Ctrl-C cuts off, such as one that waits for the map, is no error to be shown.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    with suppress(KeyboardInterrupt):  # uvicorn has ended its work by then
        server.run([listener])
