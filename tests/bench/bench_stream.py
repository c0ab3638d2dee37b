"""A stream of studies through the real node, over DICOM; then something changes: which channel tells what, how soon?

cxr-triage with its own model on phantom radiographs of two detectors, a stand-in PACS, the commands that build and
accept a baseline. The baseline's features are the pipeline's own, of studies that did not pass the node, dated to the
days before; every study after it comes over DICOM. `OVERREAD_STREAM=0.5` takes half of all studies.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load_file, save_file

from tests.bench.stream.house import House, copied, edited, features_of, remember, told
from tests.bench.stream.world import USUAL, Change, Site
from tests.nodes import stand_in_pacs

BASELINE, CHUNK = 300, 8
STREAMS: tuple[tuple[str, Change, int], ...] = (  # what changes, how, studies at most
    ("nothing", USUAL, 40),
    ("every second study from a new scanner", Change(scanner=True), 24),
    ("sharper kernel, more noise", Change(noise=0.03), 24),
    ("findings 3 times as frequent", Change(share=0.6), 64),
    ("a metal token burned in", Change(marks=True), 48),
)
WEIGHTS, STEP = "other weights, same name and version", "MONOCHROME1 is not turned any more"
_SECONDS = 60.0  # that one study may take on a busy machine
show = Console(stderr=True).print if "OVERREAD_BENCH_SHOW" in os.environ else lambda *_: None


def run() -> dict[str, Any]:
    """For each change: what was told, after how many studies, of how many; and what the baseline was."""
    share = float(os.environ.get("OVERREAD_STREAM", "1"))
    found: dict[str, Any] = {"changes": {}}
    with tempfile.TemporaryDirectory() as place, stand_in_pacs(Path(place) / "pacs") as pacs:
        folder = Path(place)
        site = Site(folder / "sent")
        learnt, model = features_of([site.study() for _ in range(max(120, round(BASELINE * share)))])
        (folder / "node").mkdir()
        first, last = remember(f"sqlite:///{folder / 'node' / 'overread.db'}", learnt, model)
        show(f"{len(learnt)} studies for the baseline")
        with House(folder / "node", pacs.port).up() as house:
            show("the node runs")
            for name, change, most in STREAMS:
                summary = house.begin(model, first, last)
                found["baseline"] = {name: summary[name] for name in ("studies", "days", "per_day", "thresholds")}
                found["baseline"]["channels"] = len(summary["channels"]["model"])
                found["changes"][name] = _stream(house, lambda c=change: site.study(c), round(most * share))  # type: ignore[misc]
                show(name, found["changes"][name])
            house.begin(model, first, last)
            start = house.now()
        found["changes"][WEIGHTS] = _swapped(folder, pacs.port, site, start)
        show(WEIGHTS, found["changes"][WEIGHTS])
        found["changes"][STEP] = _broken(
            folder, pacs.port, site, round(40 * share), lambda house: house.begin(model, first, last)
        )
        show(STEP, found["changes"][STEP])
    return found


def _stream(house: House, study: Callable[[], Path], most: int, start: int | None = None) -> dict[str, Any]:
    """Send until a channel of the model raised an alarm, at most `most`. `start`: the event after which all counts."""
    start, sent, began = house.now() if start is None else start, 0, time.monotonic()
    raised: list[dict[str, Any]] = []
    while sent < most and not any(one["word"] == "alarm" and one["kind"] == "drift" for one in raised):
        some = [study() for _ in range(min(CHUNK, most - sent))]
        house.send(some, _SECONDS * len(some))
        sent += len(some)
        raised = told(house.since(start))
    return {"studies": sent, "seconds": round(time.monotonic() - began, 1), "told": raised}


def _swapped(folder: Path, pacs_port: int, site: Site, start: int) -> dict[str, Any]:
    """Each weight a little other, and the card's digest with it, so that the shelf has nothing against it."""
    tree = copied(folder / "swapped")
    [weights] = (tree / "models" / "bundled" / "cxr-triage").glob("*.safetensors")
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    save_file({name: np.asarray(one * 1.05, one.dtype) for name, one in load_file(weights).items()}, weights)
    edited(weights.parent / "card.toml", before, hashlib.sha256(weights.read_bytes()).hexdigest())
    with House(folder / "node", pacs_port, tree).up() as house:
        house.caught_up()
        return _stream(house, site.study, CHUNK, start)


def _broken(
    folder: Path, pacs_port: int, site: Site, most: int, begin: Callable[[House], Any]
) -> dict[str, Any]:  # fmt: skip
    """A step of the preprocessing is gone in this build of the software. `begin`: accepts the baseline anew."""
    tree = copied(folder / "broken")
    edited(tree / "pipelines" / "pixels.py", '== "MONOCHROME1" and not is_ct', '== "MONOCHROME1" and is_ct')
    house = House(folder / "node", pacs_port, tree)
    start = house.now()
    with house.up():
        begin(house)
        return _stream(house, site.study, most, start)


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A table for people."""
    made = [("what changes", "studies sent", "notice at once", "first watch", "alarms")]
    for name, one in found["changes"].items():
        new = [_said(each) for each in one["told"] if each["word"] == "notice"]
        watch = [_said(each) for each in one["told"] if each["word"] == "watch"]
        alarms = [_said(each) for each in one["told"] if each["word"] == "alarm"]
        made.append((name, str(one["studies"]), _list(new, 3), _list(watch, 1), _list(alarms, 4)))
    return made


def _said(one: dict[str, Any]) -> str:
    return f"{one['channel']} ({one['after'] or 'at the start'})"


def _list(words: Sequence[str], most: int) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return (", ".join(words[:most]) or "-") + more
