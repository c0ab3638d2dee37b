"""A stream of studies through the real node, over DICOM; then something changes: which channel tells what, how soon?

cxr-triage and ct-lung with their own models on phantoms, a stand-in PACS, the commands that build and accept a baseline.
The baseline's features are the pipeline's own, of studies that did not pass the node, dated to the days before; every
study after it comes over DICOM. `OVERREAD_STREAM=0.5` takes half of all studies.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import load_file, save_file

from tests.bench.stream.house import House, copied, edited, features_of, remember, told
from tests.bench.stream.world import USUAL, Change, Radiography, Site, Tomography
from tests.nodes import stand_in_pacs

_FEWEST = 120  # studies of a baseline
_SECONDS = 60.0  # that one study may take on a busy machine
WEIGHTS = "other weights, same name and version"
show = Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print  # it takes long: each as it comes


@dataclass(frozen=True)
class World:
    """What is measured with one pipeline. `streams`: what changes, how, studies at most; `step`: what is broken in the
    software, in which file, which text becomes which, studies at most."""

    pipeline: str
    site: Callable[[Path], Site]
    baseline: int
    chunk: int
    streams: tuple[tuple[str, Change, int], ...]
    step: tuple[str, str, str, str, int]


WORLDS = (
    World(
        "cxr-triage", Radiography, baseline=300, chunk=8,
        streams=(
            ("nothing", USUAL, 40),
            ("every second study from a new scanner", Change(scanner=True), 24),
            ("sharper kernel, more noise", Change(noise=0.03), 24),
            ("findings 3 times as frequent", Change(share=0.6), 64),
            ("a metal token burned in", Change(marks=True), 48),
        ),
        step=("MONOCHROME1 is not turned any more", "pixels.py", '== "MONOCHROME1" and not is_ct',
              '== "MONOCHROME1" and is_ct', 16),
    ),
    World(
        "ct-lung", Tomography, baseline=240, chunk=4,
        streams=(
            ("nothing", USUAL, 24),
            ("sharper kernel under the same name, more noise", Change(noise=25), 24),
            ("slices of 10 mm in place of 8", Change(slices=32), 24),
            ("3 slices of each study are lost", Change(lost=3), 24),
        ),
        step=("slices are sorted by their numbers", "grid.py", 'order = np.argsort(places, kind="stable")',
              "order = np.argsort([int(frame.instance.header.InstanceNumber) for frame in frames])", 4),
    ),
)  # fmt: skip


def run() -> dict[str, Any]:
    """For each pipeline: what its baseline was, and for each change what was told, after how many studies, of how many.
    AssertionError: a study did not get through in time."""
    share = float(os.environ.get("OVERREAD_STREAM", "1"))
    with tempfile.TemporaryDirectory() as place, stand_in_pacs(Path(place) / "pacs") as pacs:
        return {world.pipeline: _measured(world, Path(place) / world.pipeline, pacs.port, share) for world in WORLDS}


def _measured(world: World, folder: Path, port: int, share: float) -> dict[str, Any]:
    site, began = world.site(folder / "sent"), time.monotonic()
    studies = [site.study() for _ in range(max(_FEWEST, round(world.baseline * share)))]
    learnt, model = features_of(world.pipeline, studies)
    (folder / "node").mkdir()
    first, last = remember(f"sqlite:///{folder / 'node' / 'overread.db'}", world.pipeline, learnt, model)
    show(f"{world.pipeline}: {len(learnt)} studies for the baseline ({time.monotonic() - began:.0f} s)")
    found: dict[str, Any] = {"changes": {}}

    def stream(house: House, name: str, change: Change, most: int, start: int | None = None) -> None:
        found["changes"][name] = _stream(house, lambda: site.study(change), world.chunk, most, start)
        one = found["changes"][name]
        said = [f"{each['word']} {_said(each)}" for each in one["told"]]
        show(f"{world.pipeline}: {name}: {one['studies']} studies, {one['seconds']:.0f} s: {_list(said, 8)}")

    with House(folder / "node", port, world.pipeline).up() as house:
        for name, change, most in world.streams:
            summary = house.begin(model, first, last)
            found["baseline"] = {name: summary[name] for name in ("studies", "days", "per_day", "thresholds")}
            found["baseline"]["channels"] = len(summary["channels"]["model"])
            stream(house, name, change, max(world.chunk, round(most * share)))
        house.begin(model, first, last)
        start = house.now()
    with House(folder / "node", port, world.pipeline, _swapped(folder / "swapped", world.pipeline)).up() as house:
        stream(house, WEIGHTS, USUAL, world.chunk, start)
    name, file, old, new, most = world.step
    tree = copied(folder / "broken")
    edited(tree / "pipelines" / file, old, new)
    house = House(folder / "node", port, world.pipeline, tree)
    start = house.now()
    with house.up():
        house.begin(model, first, last)
        stream(house, name, USUAL, max(world.chunk, round(most * share)), start)
    return found


def _stream(
    house: House, study: Callable[[], list[Path]], chunk: int, most: int, start: int | None
) -> dict[str, Any]:  # fmt: skip
    """Send until a channel of the model raised an alarm, at most `most`. `start`: the event after which all counts."""
    start, sent, began = house.now() if start is None else start, 0, time.monotonic()
    raised: list[dict[str, Any]] = []
    while sent < most and not any(one["word"] == "alarm" and one["kind"] == "drift" for one in raised):
        some = [study() for _ in range(min(chunk, most - sent))]
        house.send(some, _SECONDS * len(some))
        sent += len(some)
        raised = told(house.since(start))
    return {"studies": sent, "seconds": round(time.monotonic() - began, 1), "told": raised}


def _swapped(folder: Path, pipeline: str) -> Path:
    """The software with each weight a little other, and the card's digests with it, so that the shelf has nothing
    against it."""
    tree = copied(folder)
    for weights in (tree / "models" / "bundled" / pipeline).glob("*.safetensors"):
        before = hashlib.sha256(weights.read_bytes()).hexdigest()
        other = {name: np.asarray(one * 1.05, one.dtype) for name, one in load_file(weights).items()}
        save_file(other, weights)
        edited(weights.parent / "card.toml", before, hashlib.sha256(weights.read_bytes()).hexdigest())
    return tree


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A table for people."""
    made = [("pipeline", "what changes", "studies sent", "notice at once", "first watch", "alarms")]
    for world in WORLDS:
        for name, one in found[world.pipeline]["changes"].items():
            said = {word: [_said(each) for each in one["told"] if each["word"] == word]
                    for word in ("notice", "watch", "alarm")}  # fmt: skip
            last = _list(said["notice"], 3), _list(said["watch"], 1), _list(said["alarm"], 4)
            made.append((world.pipeline, name, str(one["studies"]), *last))
    return made


def _said(one: dict[str, Any]) -> str:
    return f"{one['channel']} ({one['after'] or 'at the start'})"


def _list(words: Sequence[str], most: int) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return (", ".join(words[:most]) or "-") + more
