"""What the commands share: their options, and the database that they look into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.config import Config
from node.errors import ConfigError

if TYPE_CHECKING:
    from node.queries import Queries

ConfigOption = Annotated[Path, typer.Option("-c", "--config", envvar="OVERREAD_CONFIG", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_CONFIG = Path("overread.toml")


def queries(config: Config) -> Queries:
    """The node's database, to read. Raises ConfigError where there is none yet."""
    from node.queries import open_queries

    url = config.node.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise ConfigError("node.database", f"{url} does not exist yet; `overread serve` creates it")
    return open_queries(url)
