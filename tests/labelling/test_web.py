"""The page's server: who is admitted, how bad requests are answered, and what kill -9 leaves."""

import asyncio
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import uvicorn
from filelock import FileLock, Timeout
from starlette.testclient import TestClient

from commands import program
from samples import quick
from selfsort.labelling.label_space import stamp_of
from selfsort.labelling.server.serve import listen
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.server.web import make_app
from selfsort.labelling.server.web.connections import ImpatientProtocol
from selfsort.labelling.store import Store
from selfsort.runs import RunFolder

TOKEN = "a-token"
HOME = "http://127.0.0.1:8573"


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        yield service


@pytest.fixture
def app(service):
    return make_app(service, TOKEN)


@pytest.fixture
def stranger(app):
    return TestClient(app, base_url=HOME, follow_redirects=False)


@pytest.fixture
def client(app):
    return TestClient(app, base_url=HOME, headers={"X-Selfsort-Token": TOKEN})


def send(client: Any, path: str, key: str = "k", who: str = "ann", **body: Any) -> Any:
    return client.post(path, json={"key": key, "client": who, **body})


def as_it_is(app: Any, path: str) -> tuple[int, bytes]:
    """Request a path that clients would normalise before sending it."""
    answer: list[dict[str, Any]] = []
    headers = [(b"host", b"127.0.0.1"), (b"x-selfsort-token", TOKEN.encode())]
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "query_string": b""}
    scope |= {"path": unquote(path), "raw_path": path.encode(), "headers": headers, "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answer.append(message)

    asyncio.run(app(scope, receive, send))
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer)


class TestToken:
    def test_the_address_opens_the_page(self, stranger):
        answer = stranger.get(f"/?token={TOKEN}")
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("selfsort_token") and "HttpOnly" in cookie and "SameSite=strict" in cookie
        page = stranger.get("/")
        assert page.status_code == 200 and "<script" in page.text and stranger.get("/api/state").status_code == 200

    @pytest.mark.parametrize("path", ["/", "/?token=wrong", "/?token=", "/?token=%FF%C3%A9", "/?token=a&token=b"])
    def test_no_page_without_it(self, stranger, path):
        answer = stranger.get(path)
        assert answer.status_code == 401 and "printed in the terminal" in answer.text
        assert "set-cookie" not in answer.headers

    def test_nothing_is_answered_without_it(self, app, stranger):
        routes = [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]
        assert len(routes) >= 20
        for method, path in [*routes, ("get", "/api/openapi.json"), ("get", "/static/app.js"), ("get", "/nothing")]:
            path = re.sub(r"{\w+}", "1", path)
            for headers in ({}, {"X-Selfsort-Token": "wrong"}, {"Cookie": "selfsort_token=é"}):
                encoded = {name: value.encode() for name, value in headers.items()}
                answer = stranger.request(method, path, headers=encoded)
                assert answer.status_code == 401 and set(answer.json()) == {"detail", "code"}, path

    def test_the_style_of_the_locked_page_is_free(self, stranger):
        assert stranger.get("/static/app.css").status_code == 200
        assert stranger.get("/elsewhere.css").status_code == 401

    def test_no_documentation_pages(self, client):
        assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3

    def test_servers_of_two_runs_do_not_interfere(self, app):
        one, other = (TestClient(app, base_url=f"http://127.0.0.1:{port}", follow_redirects=False) for port in (1, 2))
        cookies = [server.get(f"/?token={TOKEN}").headers["set-cookie"] for server in (one, other)]
        assert cookies[0].partition("=")[0] != cookies[1].partition("=")[0]


class TestPassword:
    @pytest.fixture
    def app_with_password(self, service):
        return make_app(service, TOKEN, hosts=("127.0.0.1", "lab.local"), password="sésame")

    @pytest.fixture
    def guest(self, app_with_password):
        return TestClient(app_with_password, base_url="http://lab.local:8573", follow_redirects=False)

    def test_the_right_password_opens_the_page(self, guest):
        page = guest.get("/")
        assert page.status_code == 401 and 'name="password"' in page.text and "not the password" not in page.text
        assert "not the password" in guest.get("/?wrong").text
        assert "enter the password" in guest.get("/api/state").json()["detail"]
        answer = guest.post("/login", data={"password": "sésame"})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        assert guest.get("/api/state").status_code == 200

    def test_a_wrong_password_takes_time_and_opens_nothing(self, guest, monkeypatch):
        monkeypatch.setattr("selfsort.labelling.server.web.routes._WRONG_PASSWORD", 0.3)
        for body in (b"password=x", b"", b"password=", b"\xff\xfe=%zz", b"password=s\xc3"):
            answer = guest.post("/login", content=body)
            assert answer.headers["location"] == "/?wrong" and "set-cookie" not in answer.headers
            assert answer.elapsed.total_seconds() >= 0.3
        assert guest.get("/api/state").status_code == 401

    def test_wrong_passwords_delay_only_their_own_address(self, app_with_password, monkeypatch):
        monkeypatch.setattr("selfsort.labelling.server.web.routes._WRONG_PASSWORD", 0.3)

        async def try_at_once() -> dict[str, float]:
            start, took = time.monotonic(), {}

            async def attempt(address: str, password: str, name: str) -> None:
                transport = httpx.ASGITransport(app_with_password, client=(address, 1))
                async with httpx.AsyncClient(transport=transport, base_url="http://lab.local:8573") as client:
                    await client.post("/login", data={"password": password})
                took[name] = time.monotonic() - start

            wrong = [attempt("10.0.0.9", "x", f"wrong {number}") for number in range(5)]
            wrong += [attempt("2001:db8::9", "x", "wrong 6"), attempt("2001:db8::8", "sésame", "right of a neighbour")]
            await asyncio.gather(*wrong, attempt("10.0.0.8", "sésame", "right"))
            return took

        took = asyncio.run(try_at_once())
        assert took["right"] < 0.3 <= took["right of a neighbour"]
        assert took["wrong 4"] >= 5 * 0.3

    def test_no_such_page_on_this_machine(self, client, stranger, monkeypatch):
        monkeypatch.setattr("selfsort.labelling.server.web.routes._WRONG_PASSWORD", 0.0)
        assert stranger.post("/login", data={"password": ""}).status_code == 401
        assert "set-cookie" not in client.post("/login", data={"password": ""}).headers


class TestOtherSites:
    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8573", "", "127.0.0.2"])
    def test_foreign_host_names(self, client, host):
        answer = client.get("/api/state", headers={"Host": host})
        assert answer.status_code == 400 and "pictures" not in answer.text

    @pytest.mark.parametrize("host", ["127.0.0.1", "LocalHost:9", "[::1]:8573", "[::1]"])
    def test_own_host_names(self, client, host):
        assert client.get("/api/state", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize(
        "origin",
        ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:8573", "http://localhost:8573"],
    )
    def test_foreign_origins(self, client, service, origin):
        body = {"key": "k", "client": "c", "group": 0, "kind": "skip"}
        assert client.post("/api/answers", json=body, headers={"Origin": origin}).status_code == 403
        assert service.state()["answers"] == 0

    def test_own_origin(self, client):
        body = {"key": "k", "client": "c", "group": 0, "kind": "skip"}
        assert client.post("/api/answers", json=body, headers={"Origin": HOME}).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/api/state", "/static/app.js", "/api/images/1/thumbnail", "/nothing"])
    def test_every_response_has_the_security_headers(self, client, stranger, path):
        for answer in (client.get(path), stranger.get(path), stranger.get(path, headers={"Host": "evil.example"})):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert "access-control-allow-origin" not in answer.headers

    def test_caching_headers(self, client):
        assert client.get("/api/state").headers["cache-control"] == "no-store"
        picture = client.get("/api/images/1/thumbnail").headers
        assert "private" in picture["cache-control"] and "max-age" in picture["cache-control"]
        assert picture["vary"] == "Cookie", "another server's pictures must not be mistaken for this one's"


class TestFiles:
    @pytest.mark.parametrize(
        "path",
        [
            "/static/../web.py",
            "/static/..%2fweb.py",
            "/static/%2e%2e/web.py",
            "/static/..%5cweb.py",
            "/static//etc/passwd",
            "/static/%00",
            "/static/",
            "/api/images/..%2f..%2fetc%2fpasswd",
            "/api/images/../../etc/passwd",
            "/api/images/%2fetc%2fpasswd/original",
            "/api/groups/..%2f1/centre.png",
            "//etc/passwd",
        ],
    )
    def test_nothing_else_of_the_disk(self, app, path):
        status, content = as_it_is(app, path)
        assert status in (404, 405, 422), content
        assert b"root:" not in content and b"import" not in content


class TestBadInput:
    def test_large_bodies(self, client, service):
        body = json.dumps({"key": "k", "client": "c", "pictures": [1] * 600_000}).encode()
        assert len(body) > 1_000_000
        assert client.post("/api/lasso", content=body).status_code == 413
        assert client.post("/api/lasso", content=iter([body[:500_000]] * 3)).status_code == 413
        assert len(service.session.groups) == 6

    def test_fields_are_limited(self, client):
        good = {"key": "k", "client": "c", "group": 0, "kind": "name", "name": "rose"}
        for changes in (
            {"key": ""},
            {"key": "x" * 65},
            {"key": "a b"},
            {"client": None},
            {"group": -1},
            {"group": 2**70},
            {"group": "one"},
            {"kind": "merge"},
            {"confidence": 6},
            {"confidence": 0},
            {"name": "x" * 1000},
            {"excluded": [-1]},
            {"excluded": [2**64]},
            {"excluded": "no"},
            {"more": 1},
        ):
            answer = client.post("/api/answers", json=good | changes)
            assert answer.status_code == 422 and "\n" not in answer.json()["detail"], changes
        assert client.post("/api/answers", json=good).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"key": NaN}', b"[" * 100_000, b'{"key": "\\ud800", "client": "c"}'],
    )
    def test_invalid_requests(self, client, body):
        answer = client.post("/api/undo", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str)

    def test_sentences(self, client):
        first, other = (client.get(f"/api/group?client={who}").json()["group"] for who in ("ann", "bob"))
        assert send(client, "/api/refine", "f").status_code == 409
        assert send(client, "/api/answers", group=first["id"], kind="name", name="Rose").status_code == 200
        taken = send(client, "/api/answers", "b", "bob", group=first["id"], kind="junk")
        assert taken.status_code == 409 and taken.json()["taken"] is True and taken.json()["detail"].endswith(".")
        similar = send(client, "/api/answers", "c", "bob", group=other["id"], kind="name", name="ro se")
        assert similar.status_code == 409 and similar.json()["similar"] == "Rose"
        empty = send(client, "/api/answers", "d", "bob", group=other["id"], kind="name", name=" ")
        assert empty.status_code == 422 and "empty" in empty.json()["detail"]
        assert send(client, "/api/undo", "e", "carl").status_code == 409
        assert client.get("/api/images/60").status_code == 404
        assert client.get("/api/check").status_code == 404
        assert client.get("/api/names/pictures?name=none").status_code == 404

    def test_a_store_that_cannot_be_written(self, client, service):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
            answer = send(client, "/api/answers", group=0, kind="junk")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert answer.status_code == 507 and "full" in answer.json()["detail"]
        assert client.get("/api/state").json()["answers"] == 0
        assert send(client, "/api/answers", group=0, kind="junk").json()["state"]["answers"] == 1


def test_a_whole_session(client):
    state = client.get("/api/state").json()
    assert set(state) == {
        *(
            "run",
            "pictures",
            "covered",
            "answers",
            "open_groups",
            "round",
            "version",
            "names",
            "estimate",
            "refinement",
        ),
        *("certify", "generation", "groups_fit", "judged", "map", "better_groups", "named_alone", "skipped"),
        *("command", "junk", "map_drawing", "set_aside", "repairs"),
    }
    group = client.get("/api/group?client=ann").json()["group"]
    assert set(group) == {
        *("id", "size", "round", "kind", "parent", "depth", "centre", "typical", "random", "borderline", "gain"),
        "suggestion",
        "about",
    }
    named = {"group": group["id"], "kind": "name", "name": "rose", "excluded": group["typical"][:2]}
    reply = send(client, "/api/answers", "a", **named)
    assert reply.json()["state"]["covered"] == group["size"] - 2
    other = reply.json()["group"]
    reply = send(client, "/api/answers", "b", group=other["id"], kind="name", name="roze")
    merged = send(client, "/api/merge", "c", names=["roze"], into="rose").json()["state"]
    assert [each["name"] for each in merged["names"]] == ["rose"]
    rows = client.get("/api/names/pictures?name=rose&limit=3&order=typical").json()
    assert len(rows["pictures"]) == 3 and rows["total"] == merged["covered"]
    pulled = send(client, "/api/pull", "d", name="rose", pictures=[rows["pictures"][0]["index"]], to=None).json()
    assert pulled["state"]["covered"] == merged["covered"] - 1
    made = send(client, "/api/lasso", "e", pictures=[1, 2, 3]).json()["group"]
    assert client.get(f"/api/groups/{made['id']}").json() == made
    undone = send(client, "/api/undo", "f").json()
    assert undone["state"]["covered"] == merged["covered"] - 1, "it was the circle"
    undone = send(client, "/api/undo", "g").json()
    assert undone["state"]["covered"] == merged["covered"]
    table = client.get("/api/export/csv")
    assert table.headers["content-type"].startswith("text/csv") and "attachment" in table.headers["content-disposition"]
    assert len(table.text.splitlines()) == 61
    assert len(client.get("/api/map").json()["points"]) == len(client.get("/api/map/names").json()["names"]) == 60


# A server in a separate process


class Server:
    """`selfsort label` on a run, which can be killed and started again."""

    def __init__(self, run: Path, *options: str):
        words = program("label", run, "--no-browser", *options)
        words += ["--images", str(run.parent / "pictures.npy")]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        found = (re.search(r"(http://[^/]+)/\?token=(\S+)", line) for line in self.process.stdout)
        address = next((match for match in found if match), None)
        assert address is not None, self.process.stderr.read()
        self.home, self.token = address.groups()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.home, headers={"X-Selfsort-Token": self.token}, timeout=60)

    def end(self, how: int) -> tuple[int, str]:
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def served(run, finished):
    """A run with its pictures beside it."""
    (run.parent / "pictures.npy").write_bytes((finished.parent / "pictures.npy").read_bytes())
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(Server(run, *options))
        return servers[-1]

    yield start
    for server in servers:
        with suppress(ProcessLookupError):
            server.process.kill()
        server.process.communicate()


def talk(server: Server, who: str, said: dict[str, tuple[str, int]], stop: threading.Event) -> None:
    """Name groups and undo as fast as the server allows; record what it acknowledged."""
    with server.client() as client, suppress(httpx.HTTPError):
        for number in range(10_000):
            group = client.get(f"/api/group?client={who}").json()["group"]
            if group is not None:
                key = f"{who}-{number}"
                if send(client, "/api/answers", key, who, group=group["id"], kind="name", name=who).status_code == 200:
                    said[key] = "name", group["id"]
            if number % 3 == 2:
                undone = send(client, "/api/undo", f"{who}-u{number}", who)
                if undone.status_code == 200:
                    said[f"{who}-u{number}"] = "undo", undone.json()["group"]["id"]
            if len(said) > 25:
                stop.set()


@pytest.mark.slow
def test_kill_loses_nothing_and_nothing_counts_twice(served, run):
    server = served("--groups", "6")
    said: dict[str, dict[str, tuple[str, int]]] = {"ann": {}, "bob": {}}
    stop = threading.Event()
    people = [threading.Thread(target=talk, args=(server, who, said[who], stop)) for who in said]
    for person in people:
        person.start()
    assert stop.wait(120)
    assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    for person in people:
        person.join()

    expected: dict[int, str] = {}
    for who, answers in said.items():
        own: set[int] = set()
        for what, group in answers.values():
            own.add(group) if what == "name" else own.discard(group)
        expected |= dict.fromkeys(own, who)
    with closing(Store.open(run)) as store:
        kept = {item.event.group: item.client for item in store.events()}
        assert len(kept) == len(store.events()), "no group is answered twice"
        assert all(store.knows(key) for answers in said.values() for key in answers)
        before = store.events()
    again = served()
    with again.client() as client:
        for who, answers in said.items():
            key, (_, group) = next(item for item in reversed(answers.items()) if item[1][0] == "name")
            reply = send(client, "/api/answers", key, who, group=group, kind="name", name=who)
            assert reply.status_code == 200 and reply.json()["state"]["answers"] == len(before)
    assert again.end(signal.SIGINT)[0] == 0
    with closing(Store.open(run)) as store:
        assert store.events() == before
    # The last request of each may have been carried out without being acknowledged.
    differing = {group for group in expected.keys() | kept.keys() if expected.get(group) != kept.get(group)}
    assert len(differing) <= 2


def test_a_second_server_says_who_has_the_run(served, run, finished):
    server = served("--groups", "6")
    words = program("label", run, "--images", run.parent / "pictures.npy")
    second = subprocess.run([*words, "--no-browser"], capture_output=True, text=True)
    assert second.returncode == 1
    assert f"process {server.process.pid} on port" in second.stderr and second.stderr.count("\n") == 1
    port = server.home.rpartition(":")[2]
    other = run.parent / "other"
    shutil.copytree(finished, other)
    words = program("label", other, "--images", run.parent / "pictures.npy")
    busy = subprocess.run([*words, "--no-browser", "--port", port], capture_output=True, text=True)
    assert busy.returncode == 1
    assert f"Port {port} cannot be used (address already in use)" in busy.stderr and busy.stderr.count("\n") == 1
    assert server.end(signal.SIGINT) == (0, "")


@pytest.fixture
def trained(run, images):
    """The run, with a method that trains as long as requested."""
    shutil.rmtree(run)
    model = quick("conv-autoencoder").fit(images, run_dir=run)
    np.savez(RunFolder(run).points, stamp=stamp_of(model.embedding_), points=model.embedding_)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_refinement_ends_with_its_server(served, trained, how):
    server = served("--groups", "6")
    with server.client() as client:
        for name in ("rose", "tulip"):
            group = client.get("/api/group?client=ann").json()["group"]["id"]
            send(client, "/api/answers", name, "ann", group=group, kind="name", name=name).raise_for_status()
        send(client, "/api/refine", "refine", "ann", epochs=10_000).raise_for_status()
        while (now := client.get("/api/state").json()["refinement"])["epoch"] < 2:
            assert now["state"] == "running", now["message"]
            time.sleep(0.2)
    lock = FileLock(trained / ".refine.lock")
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    assert server.end(how) == (-how if how == signal.SIGKILL else 0, "")
    with lock.acquire(timeout=30):  # it would run for hours
        assert not (trained / "named").exists()


def test_answers_are_sent_at_once():
    # asyncio disables Nagle's delay for sockets declared as TCP; with the delay every answer took 40 ms more.
    with closing(listen(None, None)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.fixture
def impatient(app, monkeypatch):
    """The port of a server that waits only a moment."""
    monkeypatch.setattr("selfsort.labelling.server.web.connections.PATIENCE", 0.4)
    monkeypatch.setattr("selfsort.labelling.server.web.guard._PATIENCE", 0.4)
    with closing(listen(None, None)) as listener:
        config = uvicorn.Config(app, http=ImpatientProtocol, log_level="error", lifespan="off", timeout_keep_alive=30)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("begun", [b"", b"GET /api/state HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_connection_without_a_request_is_closed(impatient, begun):
    with socket.create_connection(("127.0.0.1", impatient), 5) as connection:
        connection.sendall(begun)
        assert connection.recv(1) == b""


def test_one_that_stops_within_its_second_request_is_closed(impatient):
    with socket.create_connection(("127.0.0.1", impatient), 5) as connection:
        connection.sendall(b"GET /static/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(0.8)  # longer than it waits for a request that has not started
        connection.sendall(b"GET /static/app.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(b"GET /")
        answered = b""
        while part := connection.recv(100_000):
            answered += part
        assert answered.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_that_does_not_arrive_is_refused(impatient):
    with socket.create_connection(("127.0.0.1", impatient), 5) as connection:
        head = f"POST /api/undo HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Selfsort-Token: {TOKEN}\r\nContent-Length: 9\r\n\r\n{{"
        connection.sendall(head.encode())
        answered = b""
        while part := connection.recv(100_000):
            answered += part
        assert answered.startswith(b"HTTP/1.1 408 ") and b"took too long" in answered


def test_only_this_machine_is_listened_to(served):
    server = served("--groups", "6")
    # Another address of this machine, on which a server listening on all addresses would answer.
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", int(server.home.rpartition(":")[2])), 2):
        pass
    with server.client() as client:
        assert client.get("/api/state").status_code == 200


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "lab.local"], "give --password"),
        (["--host", "0.0.0.0", "--password", "x"], "is not a name"),
        (["--host", "no.such.name.invalid", "--password", "x"], "is unknown"),
        (["--json"], "--simulate"),
        (["--groups", "61"], "61 groups"),
    ],
)
def test_invalid_options(run, finished, monkeypatch, capsys, options, sentence):
    from selfsort.__main__ import main

    monkeypatch.delenv("SELFSORT_PASSWORD", raising=False)
    words = ["selfsort", "label", str(run), "--images", str(finished.parent / "pictures.npy"), "--no-browser", *options]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and error.startswith("selfsort: ")


class TestExchange:
    def test_names_are_imported_and_exported_as_files(self, client, images):
        rows = "".join(f"{image_id},kind {place % 3}\n" for place, image_id in enumerate(images.ids))
        found = send(client, "/api/import", "a", table=f"id,name\n{rows}").json()
        assert found["imported"]["named"] == 60 and len(found["state"]["names"]) == 3
        kinds = {"csv": "text/csv", "json": "application/json", "coco": "application/json", "zip": "application/zip"}
        for kind, media_type in kinds.items():
            answer = client.get(f"/api/export/{kind}")
            assert answer.status_code == 200 and answer.headers["content-type"].startswith(media_type)
            assert "attachment" in answer.headers["content-disposition"] and len(answer.content) > 1000
        assert client.get("/api/export/voc").status_code == 422

    def test_the_same_key_imports_once_and_anybody_takes_it_back(self, client, images):
        for _ in range(2):
            assert send(client, "/api/import", "a", table=f"id,name\n{images.ids[0]},rose\n").status_code == 200
        state = send(client, "/api/undo", "b", "bob").json()["state"]
        assert state["names"] == [] and state["answers"] == 0

    def test_a_table_may_be_larger_than_other_requests(self, client, images):
        rows = "".join(f"nothing-{number:040d}.png,rose\n" for number in range(30_000))
        table = f"id,name\n{images.ids[0]},rose\n{rows}"
        assert len(table) > 1_000_000
        assert len(send(client, "/api/import", "a", table=table).json()["imported"]["unknown"]) == 30_000

    def test_an_invalid_table_is_refused_in_a_sentence(self, client):
        answer = send(client, "/api/import", "a", table="x,y\n1,2\n")
        assert answer.status_code == 422 and "'id' and 'name'" in answer.json()["detail"]

    def test_suspects_are_answered_one_by_one(self, client, images):
        rows = [f"{image_id},kind {place % 3}" for place, image_id in enumerate(images.ids)]
        rows[4] = f"{images.ids[4]},kind 0"
        send(client, "/api/import", "a", table="\n".join(["id,name", *rows]))
        first = client.get("/api/suspects").json()["suspects"][0]
        assert (first["picture"], first["name"], first["other"]) == (4, "kind 0", "kind 1")
        state = send(client, "/api/assign", "b", pictures=[4], name="kind 1").json()["state"]
        assert state["named_alone"] == 60 and client.get("/api/images/4").json()["name"] == "kind 1"
        assert 4 not in [each["picture"] for each in client.get("/api/suspects").json()["suspects"]]
        assert send(client, "/api/assign", "c", pictures=[], name="kind 1").status_code == 422
        assert send(client, "/api/assign", "d", pictures=[4], name="KIND 1").json()["similar"] == "kind 1"
