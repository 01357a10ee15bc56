"""The server of predictions: where it listens and how it ends."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from selfsort.data.limits import MAX_PIXELS
from selfsort.deployment.engine import Engine
from selfsort.labelling.server.serve import in_address, listen, run_server, server_of, sigterm_as_ctrl_c

_AT_ONCE = 32  # connections and requests, each of which may hold an upload


def serve_predictions(
    engine: Engine,
    *,
    port: int | None = None,
    host: str | None = None,
    allowed: Sequence[str] = (),
    max_megabytes: float = 32,
    max_pixels: int = MAX_PIXELS,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Serve predictions until Ctrl-C or SIGTERM.

    It listens on a `port`, by default the first free one from 8573, of this machine only unless a `host` is given, an
    address of this machine or "0.0.0.0" for all. Requests must address the server by the `host`, a local name or one of
    the `allowed` names; "*" allows any.

    Raises `UserError` for a port in use or a host that is not this machine.
    """
    from selfsort.deployment.web import prediction_app
    from selfsort.labelling.server.web.guard import LOCAL_HOSTS

    hosts = [*LOCAL_HOSTS, *(in_address(name.lower()) for name in (*allowed, *filter(None, [host])))]
    app = prediction_app(engine, hosts=hosts, max_bytes=int(max_megabytes * 1e6), max_pixels=max_pixels)
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_ctrl_c())
        listener = stack.enter_context(closing(listen(host, port)))
        say(f"Predictions by {engine.kind} at http://{in_address(host or '127.0.0.1')}:{listener.getsockname()[1]}/")
        say("Press Ctrl-C to stop.")
        run_server(server_of(app, _AT_ONCE), listener)
