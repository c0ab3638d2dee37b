"""What the commands share: their options, and the database that they look into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import config as configuration
from node.config import Config
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.queries import Queries
    from node.store import Store


def _words(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("want words: they stand in the audit log")
    return text


ConfigOption = Annotated[Path, typer.Option("-c", "--config", envvar="OVERREAD_CONFIG", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ByOption = Annotated[str, typer.Option("--by", callback=_words, help="Your name; it stands in the audit log.")]
WhyOption = Annotated[
    str, typer.Option("--why", callback=_words, help="The reason, without patient data; it stands in the audit log.")
]
DEFAULT_CONFIG = Path("overread.toml")


def queries(config: Config) -> Queries:
    """The node's database, to read. Raises ConfigError where there is none yet, or one of another version."""
    from node import schema
    from node.queries import open_queries

    url = config.node.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise ConfigError("node.database", f"{url} does not exist yet; `overread serve` creates it")
    opened = open_queries(url)
    here, wanted = opened.schema_version(), schema.newest_version()
    if here != wanted:
        older = here == "empty" or here < wanted
        what = "`overread serve` upgrades it at its start; back it up before" if older else "it needs a newer Overread"
        raise ConfigError("node.database", f"its schema is {here}, this version wants {wanted}: {what}")
    return opened


def opened(path: Path) -> tuple[Config, Store]:
    """The configuration and the store of an existing database. Raises ConfigError as `queries` does."""
    from node.store import Store

    settings = configuration.load(path)
    queries(settings).dispose()
    return settings, Store(settings.node.database)
