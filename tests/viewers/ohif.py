"""OHIF's viewer as a person uses it: open a study, double-click a series, turn the wheel, read what the page says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tests.viewers.browser import Browser, Failed

PANE = "[data-cy=viewport-pane]"
SERIES = "[data-cy^=study-browser-thumbnail]"
PLACE = "[data-cy=viewport-overlay-bottom-right]"
# Everything that lies over the image hidden, for a screenshot of what the viewer draws from the objects alone.
IMAGE_ONLY = "[data-cy=viewport-grid], [data-cy=viewport-grid] * {visibility: hidden !important}" \
             "[data-cy=viewport-grid] canvas {visibility: visible !important}"  # fmt: skip
NARROW, WIDE = (1000, 700), (1600, 700)  # windows: drawn soon without a graphics card; wide enough to read in
SETTLE = 60.0  # seconds for the screen to show what it should, also on a machine that does other work


@dataclass(frozen=True)
class At:
    """Where a stack stands: Instance Number, and the image's place among all (from 1)."""

    instance: int
    place: int
    count: int


class Ohif:
    """One study in OHIF. `shots`: the folder for screenshots."""

    def __init__(self, browser: Browser, address: str, shots: Path) -> None:
        self.browser, self.address, self.shots = browser, address, shots
        self._toured = False  # the guided tour comes once in a browser's life

    def open(self, study_uid: str, window: tuple[int, int] = NARROW) -> None:
        """Open a study and put away the guided tour; raises Failed when no series appears."""
        self.browser.ask("complaints")
        self.browser.ask("resize", width=window[0], height=window[1])
        self.browser.ask("goto", url=f"{self.address}/viewer?StudyInstanceUIDs={study_uid}")
        self.browser.wait(SERIES)
        self.browser.wait(f"{PANE} canvas")
        if not self._toured:
            self.browser.click("button", "Skip all")
            self._toured = True

    def series(self) -> list[str]:
        """What the list of series says of each."""
        return self.browser.texts(SERIES)

    def text(self) -> str:
        """All that can be read in the viewport."""
        return self.browser.text(PANE)

    def show(self, dataset: Dataset) -> None:
        """Double-click the series of an object, found by its number and description."""
        named = rf"{re.escape(str(dataset.SeriesDescription))}\s*S:{dataset.SeriesNumber}(?!\d)"
        self.browser.click(SERIES, named, twice=True)

    def load_segmentation(self) -> None:
        """Answer yes to the question whether the segmentation is to be opened."""
        self.browser.click("[data-cy=yes-hydrate-btn]")
        self.browser.wait("[data-cy=yes-hydrate-btn]", state="detached")

    def at(self) -> At:
        """Where the stack stands, as the page says it: "I:149 (31/60)"."""
        said = self.browser.text(PLACE)
        found = re.search(r"I:\s*(\d+)\s*\((\d+)/(\d+)\)", said)
        if not found:
            raise Failed(f"the page does not say where the stack stands: {said!r}")
        return At(*map(int, found.groups()))

    def wait_for_stack(self, count: int, description: str = "") -> None:
        """Wait until a stack of `count` images is shown, with the series' description in its corner."""

        def there() -> list[str]:
            shown = self.browser.text("[data-cy=viewport-overlay-top-left]")
            found = self.at()
            wrong = [f"{found.count} images instead of {count}"] if found.count != count else []
            return wrong + ([f"shows {shown!r} instead of {description!r}"] if description not in shown else [])

        self.until_right(there, "the stack")

    def go_to(self, place: int) -> At:
        """Show the image at `place` (from 1), as clicking on the scroll bar does."""
        self.browser.ask("jump", index=place - 1)
        self.until_right(lambda: [] if self.at().place == place else [f"shows {self.at()}"], f"image {place}")
        return self.at()

    def wrong_marks(self, wanted: dict[str, str]) -> list[str]:
        """What is wrong with the letters at the image's left and upper edge, which say where the patient's sides are."""
        places = {"left": ".left-mid.orientation-marker", "top": ".top-mid.orientation-marker"}
        found: dict[str, str] = {}

        def look() -> list[str]:
            found.update({name: "".join(self.browser.texts(selector)) for name, selector in places.items()})
            return [] if found == wanted else [f"marked {found} instead of {wanted}"]

        return self._wrong(look)

    def image(self, name: str, differences: Callable[[np.ndarray], list[str]]) -> tuple[np.ndarray, list[str]]:
        """What the viewer draws, without its own texts, and how it differs from what it should: as soon as it does not.

        Kept as NAME.png; NAME-page.png is the whole page.
        """
        clip = self.canvas()
        screens: list[np.ndarray] = []

        def look() -> list[str]:
            screens.append(self.browser.shot(self.shots / f"{name}.png", clip, IMAGE_ONLY))
            return differences(screens[-1])

        told = self._wrong(look)
        return screens[-1], [f"{name}: {one}" for one in told]

    def canvas(self) -> dict[str, float]:
        """The image's part of the page, in whole pixels: the panes beside it have odd widths."""
        return {key: round(value) for key, value in self.browser.box(f"{PANE} canvas").items()}

    def page(self, name: str) -> None:
        """Keep the whole page as NAME-page.png."""
        self.browser.shot(self.shots / f"{name}-page.png")

    def annotations(self) -> tuple[list[str], list[np.ndarray]]:
        """The texts and the lines, (n, 2) x and y in pixels of the image's canvas, drawn over the image."""
        texts = self.browser.texts(f"{PANE} svg.svg-layer tspan")
        lines = self.browser.ask("attributes", selector=f"{PANE} svg.svg-layer polyline", name="points")
        numbers = [np.array(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", line), dtype=float) for line in lines]
        return texts, [one.reshape(-1, 2) for one in numbers]

    def cut_off(self) -> list[str]:
        """The texts over the image that reach outside it and so cannot be read as a whole."""
        canvas, selector = self.canvas(), f"{PANE} svg.svg-layer tspan"
        within = zip(self.browser.texts(selector), self.browser.boxes(selector), strict=True)
        return [f"{text!r} is cut off" for text, box in within
                if box["left"] < canvas["x"] or box["right"] > canvas["x"] + canvas["width"]
                or box["top"] < canvas["y"] or box["bottom"] > canvas["y"] + canvas["height"]]  # fmt: skip

    def next_measurement(self) -> None:
        """The arrow to the report's next measurement."""
        self.browser.click("[data-cy=viewport-action-arrows-right]")

    def until_right(self, wrong: Callable[[], list[str]], what: str) -> None:
        """Ask again and again until nothing is wrong; raises Failed with what is, and keeps the page."""
        if told := self._wrong(wrong):
            self.page(f"failed-{what.replace(' ', '-')}")
            raise Failed(f"{what}: {'; '.join(told)}")

    def _wrong(self, wrong: Callable[[], list[str]]) -> list[str]:
        """What is still wrong in the end; nothing as soon as nothing is."""
        deadline = time.monotonic() + SETTLE
        while True:
            try:
                told = wrong()
            except Failed as error:
                told = [str(error)]
            if not told or time.monotonic() > deadline:
                return told
            time.sleep(0.3)
