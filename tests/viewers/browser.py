"""A headless Chromium with one page, driven by browser.js over playwright-core."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.peers import need
from tests.viewers.packages import PLAYWRIGHT, unpacked

DRIVER = Path(__file__).with_name("browser.js")
SECONDS = 60.0  # within which the page must do what it is told, on a slow machine without a graphics card
FLAGS = (
    "--headless", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the page reaches nothing but this machine
)  # fmt: skip


class Failed(AssertionError):
    """The page did not do what it was told."""


@dataclass
class Browser:
    """One page. Selectors are CSS; `text` narrows to elements that contain it."""

    process: subprocess.Popen[str]
    answers: queue.Queue[str] = field(default_factory=queue.Queue)
    version: str = ""

    def ask(self, order: str, seconds: float = SECONDS, **arguments: Any) -> Any:
        """One order of browser.js; raises Failed with the page's reason."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"order": order, "timeout": seconds * 1000, **arguments}) + "\n")
        self.process.stdin.flush()
        return self.answer(order, seconds + 30, arguments)

    def answer(self, order: str, seconds: float, arguments: dict[str, Any] | None = None) -> Any:
        """The next answer."""
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise Failed(f"the browser does not answer to {order} {arguments or ''} within {seconds:.0f} s") from None
        if not line:
            raise Failed(f"the browser ended at {order}: {self.process.poll()}")
        told = json.loads(line)
        if "error" in told:
            raise Failed(f"{order} {arguments or ''}: {told['error']}")
        return told["answer"]

    def click(self, selector: str, text: str | None = None, twice: bool = False, seconds: float = SECONDS) -> None:
        """Click (twice: double-click) on the first element that fits, once it is there."""
        self.ask("dblclick" if twice else "click", seconds, selector=selector, **_narrowed(text))

    def wait(self, selector: str, text: str | None = None, state: str = "visible", seconds: float = SECONDS) -> None:
        """Wait until the first element that fits is `state`: visible, hidden, attached or detached."""
        self.ask("wait", seconds, selector=selector, state=state, **_narrowed(text))

    def text(self, selector: str = "body") -> str:
        """The text of the first element that fits, as it is shown."""
        return str(self.ask("text", selector=selector))

    def texts(self, selector: str) -> list[str]:
        """The text of every element that fits; none is no error."""
        return list(self.ask("texts", selector=selector))

    def box(self, selector: str) -> dict[str, float]:
        """The x, y, width and height of the first element that fits, in pixels of the page."""
        return dict(self.ask("box", selector=selector))

    def shot(self, path: Path, clip: dict[str, float] | None = None, style: str | None = None) -> np.ndarray:
        """A screenshot in `path` and as uint8 (rows, columns, 3): the page or its part `clip`, under a style sheet."""
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = {"clip": clip, "style": style}
        self.ask("shot", path=str(path), **{key: value for key, value in chosen.items() if value})
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))


def _narrowed(text: str | None) -> dict[str, str]:
    return {} if text is None else {"text": text}


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a new profile in `folder`; ends with the block."""
    node, program, driver = need("node", "nodejs"), need("chromium", "chromium"), unpacked(PLAYWRIGHT)
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)  # its sandbox refuses root
    profile = folder / "profile"
    profile.mkdir(parents=True)
    with open(folder / "browser.log", "w+") as log:
        process = subprocess.Popen(
            [node, str(DRIVER), str(driver), program, str(profile), *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)  # fmt: skip
        browser = Browser(process)
        threading.Thread(target=_listen, args=(process, browser.answers), daemon=True).start()
        try:
            try:
                browser.version = browser.answer("start", SECONDS)
            except Failed as error:
                log.seek(0)
                raise Failed(f"{error}; {log.read()[-600:]}") from None
            yield browser
        finally:
            _end(process)


def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def _end(process: subprocess.Popen[str]) -> None:
    """Closing its input ends the driver, and that the browser."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(15)
    process.stdout.close()
