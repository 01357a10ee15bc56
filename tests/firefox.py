"""A headless Firefox as the system has it, driven over Marionette, Firefox's own protocol.

Playwright drives only its own Firefox, and geckodriver, which translates WebDriver into Marionette, is in no package.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

WAIT = 60.0  # seconds; others may be at work on the machine
_KEYS = {
    **{"Escape": "\ue00c", "Enter": "\ue007", "Tab": "\ue004", "Space": " ", "Delete": "\ue017"},
    **{"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"},
    **{"Shift": "\ue008", "Control": "\ue009", "Alt": "\ue00a"},
}
_PREFERENCES = {"datareporting.policy.dataSubmissionEnabled": False, "app.update.auto": False}
_RESIZE = """
const style = gBrowser.selectedBrowser.style;
for (const [side, length] of [["width", arguments[0]], ["height", arguments[1]]])
  for (const part of ["", "min-", "max-"]) style.setProperty(part + side, `${length}px`, "important");
Services.prefs.setIntPref("ui.primaryPointerCapabilities", arguments[2] ? 1 : 6);  // coarse, or fine and hovering
Services.prefs.setIntPref("ui.allPointerCapabilities", arguments[2] ? 1 : 6);
Services.prefs.setIntPref("ui.useOverlayScrollbars", arguments[2] ? 1 : 0);
Services.prefs.setIntPref("layout.css.prefers-color-scheme.content-override", arguments[3] ? 0 : 1);
"""
_WRONG = """
return Services.console.getMessageArray()
  .filter(each => each instanceof Ci.nsIScriptError && !(each.flags & Ci.nsIScriptError.warningFlag))
  .filter(each => each.sourceName.startsWith(arguments[0])).map(each => each.errorMessage);
"""


class Firefox:
    """One window of Firefox with one tab and a new profile in a `folder`."""

    def __init__(self, program: str, folder: Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {"marionette.port": port} | _PREFERENCES
        lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in settings.items()]
        (folder / "user.js").write_text("".join(lines))
        words = [program, "--headless", "--marionette", "--remote-allow-system-access", "--profile", str(folder)]
        size = {"MOZ_HEADLESS_WIDTH": "1600", "MOZ_HEADLESS_HEIGHT": "1400"}
        self._process = subprocess.Popen(
            [*words, "about:blank"], env=os.environ | size, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with _connected(port) as connection:  # the stream keeps it open
                self._stream = connection.makefile("rwb")
            self._receive()  # its greeting
            self.send("WebDriver:NewSession")
        except BaseException:
            self._process.kill()
            raise

    def close(self) -> None:
        """End it."""
        self._stream.close()
        self._process.kill()
        self._process.wait()

    def send(self, command: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        message = json.dumps([0, 0, command, parameters]).encode()
        self._stream.write(b"%d:%s" % (len(message), message))
        self._stream.flush()
        _, _, error, result = self._receive()
        assert error is None, error
        return result

    def _receive(self) -> Any:
        length = b""
        while (digit := self._stream.read(1)) != b":":
            assert digit, "Firefox ended"
            length += digit
        return json.loads(self._stream.read(int(length)))

    def _inside(self, script: str, *values: Any) -> Any:
        """Run a script with the browser's own rights."""
        self.send("Marionette:SetContext", value="chrome")
        try:
            return self.send("WebDriver:ExecuteScript", script=script, args=values)["value"]
        finally:
            self.send("Marionette:SetContext", value="content")

    def resize(self, width: int, height: int, *, touch: bool = False, dark: bool = False) -> None:
        """Give the page a size in pixels, a mouse or a touch screen, and light or dark colours."""
        self._inside(_RESIZE, width, height, touch, dark)

    def wrong(self, address: str) -> list[str]:
        """Return the errors in scripts from an address so far."""
        found: list[str] = self._inside(_WRONG, address)
        return found

    def open(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        self.send("WebDriver:Navigate", url=address)

    def run(self, script: str, *values: Any) -> Any:
        """Return the value of an expression on the page, in which `arguments` are the values."""
        return self.send("WebDriver:ExecuteScript", script=f"return {script}", args=values)["value"]

    def until(self, script: str, *values: Any) -> None:
        """Wait until an expression on the page is true."""
        end = time.monotonic() + WAIT
        while not self.run(script, *values):
            assert time.monotonic() < end, f"{script} with {values} did not become true"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.run("document.querySelector(arguments[0]).textContent", selector))

    def click(self, selector: str) -> None:
        """Click on an element where it is seen."""
        (element,) = self.send("WebDriver:FindElement", using="css selector", value=selector)["value"].values()
        self.send("WebDriver:ElementClick", id=element)

    def key(self, *keys: str) -> None:
        """Press keys, such as "Enter" and "Alt+z"."""
        for each in keys:
            pressed = [_KEYS.get(part, part) for part in ([each] if each == "+" else each.split("+"))]
            down = [{"type": "keyDown", "value": part} for part in pressed]
            up = [{"type": "keyUp", "value": part} for part in reversed(pressed)]
            source = {"type": "key", "id": "keyboard", "actions": down + up}
            self.send("WebDriver:PerformActions", actions=[source])

    def type(self, text: str) -> None:
        """Type letters where the focus is."""
        self.key(*text)

    def draw(self, path: Path) -> None:
        """Save a picture of what is in view."""
        drawn = self.send("WebDriver:TakeScreenshot", full=False)["value"]
        path.write_bytes(base64.b64decode(drawn))


def find_firefox() -> str | None:
    """Return the program on the PATH, if any."""
    return next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + WAIT
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        except OSError:
            assert time.monotonic() < end, "Firefox did not start"
            time.sleep(0.1)
