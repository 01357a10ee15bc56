"""The naming page in a real Chromium, against a real server: what its tests share."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener

from playwright.sync_api import expect

from commands import program

DESKTOP = {"width": 1440, "height": 900}
SHOWN = "() => [...document.querySelectorAll('.picture')].map(cell => cell.dataset.picture).join(' ')"
# Others may be at work on the machine.
expect.set_options(timeout=60_000)


class Server:
    """`selfsort label` (or certify) on a run, which can be killed and started again on the same port."""

    def __init__(self, run: Path, *command: str):
        self.run, self.command = run, command
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command, *options = self.command
        words = program(command, self.run, "--no-browser", "--port", self.port)
        self.process = subprocess.Popen([*words, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = (re.search(r"http://\S+token=\S+", line) for line in self.process.stdout)
        address = next((match for match in found if match), None)
        assert address is not None, f"{command} printed no address"
        self.address = address[0]

    def settle(self, patience: float = 120) -> None:
        """Wait for the better groups, which change what is shown under a test that looks at one group twice."""
        visitor, until = build_opener(HTTPCookieProcessor()), time.monotonic() + patience
        visitor.open(self.address).close()
        while json.load(visitor.open(f"http://127.0.0.1:{self.port}/api/state"))["better_groups"] is not None:
            assert time.monotonic() < until, "better groups did not come"
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.communicate()


class Tab:
    """A page that was opened with the server's token, and what went wrong on it."""

    def __init__(self, context: Any, server: Server):
        self.page = context.new_page()
        self.own = f"http://127.0.0.1:{server.port}/"
        self.expected: tuple[str, ...] = ()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        self.page.on("request", self._note)
        self.page.goto(server.address)
        expect(self.page.locator(".picture, #check-picture").first).to_be_visible()

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.own, "data:", "blob:")):
            self.wrong.append(f"request to {request.url}")

    def check(self) -> None:
        unexpected = [text for text in self.wrong if not any(part in text for part in self.expected)]
        assert not unexpected, unexpected

    def close(self) -> None:
        """Leave the page as somebody does who closes the window."""
        self.page.goto("about:blank")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.request.get(f"{self.own}api/state").json()
        return found

    def name_of(self, picture: int) -> str | None:
        """Return the name that a picture has now, which may be the model's."""
        found: str | None = self._picture(picture)["name"]
        return found

    def said_of(self, picture: int) -> dict[str, Any] | None:
        """Return what a person said of a picture, by itself or with its group."""
        found: dict[str, Any] | None = self._picture(picture)["said"]
        return found

    def _picture(self, picture: int) -> dict[str, Any]:
        found: dict[str, Any] = self.page.request.get(f"{self.own}api/images/{picture}").json()
        return found

    def counts(self) -> dict[str, int]:
        return {entry["name"]: entry["count"] for entry in self.state()["names"]}

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def carry(self, picture: Any, name: str, before_drop: Callable[[], object] = lambda: None) -> None:
        """Drag a picture onto a name in the list."""
        one, told = picture.bounding_box(), self.page.locator(".carried")
        self.page.mouse.move(one["x"] + 8, one["y"] + 8)
        self.page.mouse.down()
        for _ in range(20):  # the list is put in order again when numbers come
            other = self.page.locator(f"#legend [data-name='{name}']").bounding_box()
            if other is None:  # its row was replaced meanwhile
                continue
            self.page.mouse.move(other["x"] + 8, other["y"] + 8, steps=4)
            if told.count() and f"“{name}”" in told.inner_text():
                break
        expect(told).to_contain_text(f"“{name}”")
        before_drop()
        self.page.mouse.up()

    def shown(self) -> str:
        """Return the pictures of the group that is asked about, in the order of the page."""
        return str(self.page.evaluate(SHOWN))

    def group_after(self, *keys: str, text: str = "") -> str:
        """Press keys that lead to another group and wait for it."""
        before = self.shown()
        self.page.keyboard.type(text)
        self.key(*keys)
        self.page.wait_for_function(f"before => ({SHOWN})() !== before", arg=before)
        return self.shown()


def copy_of(run: Path, folder: Path) -> Path:
    """Copy a run without its answers."""
    return shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns("labels*"))
