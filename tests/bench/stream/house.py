"""The node of the end-to-end benchmark: its baseline, what it is sent, and what it told."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from typer.testing import CliRunner

import node as package
from node import audit, cli, peers, schema
from node.schema import events, watch_states
from node.store import Store
from node.watch.observe import JOBS, family_of, key_of
from pipelines import headers, registry
from pipelines.study import Study
from tests.conftest import Clock
from tests.nodes import RunningNode, as_modality, wait_until
from tests.watching import PER_DAY, Traffic

ROOT = Path(package.__file__).parent.parent
CHANGES = {
    'match = { Modality = "CT" }\npipelines = ["ct-lung"]': 'pipelines = ["%s"]',
    "[send]\n": "[watch]\nbaseline-studies = 100\n[send]\n",
}


def features_of(name: str, studies: Sequence[Sequence[Path]]) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """The features that a job of a pipeline on each study has, service apart, as `pipelines.base.execute` puts them
    together, without the outputs; and the model."""
    pipeline = registry.load(name, device="cpu")
    found = []
    for paths in studies:
        study = Study.from_files(paths)
        series = pipeline.select(study)
        result = pipeline.run(study, series)
        found.append({**headers.of_study(study, series, placed=pipeline.accepts.geometry), **result.features})
    return found, pipeline.model


def remember(
    url: str, pipeline: str, found: Sequence[Mapping[str, Any]], model: Mapping[str, str]
) -> tuple[float, float]:  # fmt: skip
    """Put done jobs of a pipeline with these features into a new database, as if they had come in the days up to yesterday; the
    first day and the one after the last, in seconds since the epoch."""
    schema.upgrade(url)
    clock = Clock()
    today = time.time() // 86400 * 86400
    clock.now = first = today - 60 - 86400 / PER_DAY * len(found)
    store = Store(url, clock)
    Traffic(store, clock, model, pipeline).add(found)
    store.dispose()
    return first, today


class House:
    """A running node with one pipeline whose watch can be asked. `tree`: the folder of the software that it runs."""

    def __init__(self, folder: Path, pacs_port: int, pipeline: str, tree: Path = ROOT) -> None:
        self._pipeline = pipeline
        changes = {old: new.replace("%s", pipeline) for old, new in CHANGES.items()}
        self.node = RunningNode(folder, pacs_port, quiet_time=0.3, changes=changes, tree=tree)

    @contextmanager
    def up(self) -> Iterator[House]:
        """It runs."""
        self.node.start()
        try:
            yield self
        finally:
            self.node.stop()

    def overread(self, *words: str) -> str:
        """What a command says. AssertionError: it failed."""
        result = CliRunner().invoke(cli.app, [*words, "-c", str(self.node.path)], env={"COLUMNS": "160"})
        assert result.exit_code == 0, result.output
        return result.stdout

    def begin(self, model: Mapping[str, str], first: float, last: float) -> dict[str, Any]:
        """Build the model's baseline of these days and accept it: the evidence begins anew."""
        family = key_of(family_of(self._pipeline, model, self.node.config.watch.site))
        days = [time.strftime("%Y-%m-%d", time.localtime(at)) for at in (first, last)]
        built = json.loads(self.overread("baseline", "build", family, "--from", days[0], "--to", days[1], "--json"))
        self.overread("baseline", "accept", str(built["id"]), "--by", "Dr Bench", "--why", "phantoms as usual")
        self.caught_up()
        return dict(built["summary"])

    def now(self) -> int:
        """The number of the newest event."""
        with self.node.queries.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.seq))).scalar_one())

    def since(self, seq: int) -> list[audit.Event]:
        """The events after number `seq`."""
        with self.node.queries.engine.connect() as connection:
            return list(audit.read(connection, after=seq))

    def send(self, studies: Sequence[Sequence[Path]], seconds: float) -> None:
        """Send studies over DICOM; wait until each has had its job and the watch has seen them."""
        before = self.now()
        config, peer = as_modality(self.node)
        for paths in studies:
            answers = list(peers.store(config, peer, list(paths)))
            assert len(answers) == len(paths) and all(answer.stored for answer in answers)
        self._wait(lambda: self._count(before) >= len(studies), seconds, "jobs over")
        self.caught_up()

    def caught_up(self) -> None:
        """Wait until the watch has read all that matters to it."""
        matters = (*JOBS, "baseline.accepted", "golden.mismatch")
        with self.node.queries.engine.connect() as connection:
            newest = sa.select(sa.func.max(events.c.seq)).where(events.c.type.in_(matters))
            wanted = int(connection.execute(newest).scalar_one())

        def is_read() -> bool:
            with self.node.queries.engine.connect() as connection:
                row = connection.execute(sa.select(watch_states.c.seq).where(watch_states.c.family == "*")).scalar()
            return row is not None and int(row) >= wanted

        self._wait(is_read, 120, "the watch read on")

    def _count(self, after: int) -> int:
        """Jobs that have ended since event `after`."""
        of_jobs = sa.select(sa.func.count()).where(events.c.seq > after, events.c.type.in_(JOBS))
        with self.node.queries.engine.connect() as connection:
            return int(connection.execute(of_jobs).scalar_one())

    def _wait(self, true: Callable[[], Any], seconds: float, what: str) -> None:
        try:
            wait_until(true, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; log: {self.node.log.read_text()[-2000:]}") from error


def jobs(found: Sequence[audit.Event]) -> list[int]:
    """The numbers of the events that end a job."""
    return [one.seq for one in found if one.type in JOBS]


def told(found: Sequence[audit.Event]) -> list[dict[str, Any]]:
    """What the watch told, and the golden set, in their order: the word (notice, watch, alarm), the channel, after how
    many studies."""
    ended = jobs(found)
    raised = []
    for one in found:
        if one.type == "notice":
            word = str(one.body["what"])
        elif one.type == "alarm.opened" and one.body["kind"] != "golden":
            word = "alarm"
        elif one.type == "golden.mismatch":  # of which only the first is an alarm that is opened
            says = ", ".join(moved["name"] for moved in one.body.get("moved", ())[:4])
            raised.append({"word": "alarm", "channel": "golden set", "says": says, "kind": "golden",
                           "after": sum(1 for job in ended if job <= one.seq)})  # fmt: skip
            continue
        else:
            continue
        seq = int(one.body["seq"])
        what = {"word": word, "channel": one.body["channel"], "says": one.body.get("says", "")}
        raised.append({**what, "after": sum(1 for job in ended if job <= seq), "kind": one.body.get("kind", "drift")})
    return raised


def copied(folder: Path) -> Path:
    """The software once more, to be changed."""
    for name in ("node", "pipelines", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def edited(path: Path, old: str, new: str) -> None:
    """Replace a piece of text that must stand there once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name}: {old!r} stands there {text.count(old)} times"
    path.write_text(text.replace(old, new))
