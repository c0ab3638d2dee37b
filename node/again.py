"""`overread retry`: a person asks for a failed job or delivery again."""

from __future__ import annotations

import getpass
from collections.abc import Iterator

from node.config import Config
from node.errors import ConfigError
from node.queries import Queries
from node.store import Store


def retry(config: Config, queries: Queries, what: str) -> Iterator[str]:
    """Put `job/ID`, `delivery/ID`, or with `failed` every failed row back to due; yield what was. Raises ConfigError
    for a wrong name, IllegalMove for a row that is not there or did not fail."""
    store = Store(config.node.database)
    actor = f"user/{getpass.getuser()}"
    if what == "failed":
        failed = queries.failed()
        wanted = [("job", key) for key in failed["jobs"]] + [("delivery", key) for key in failed["deliveries"]]
    else:
        noun, _, number = what.partition("/")
        if noun not in ("job", "delivery") or not number.isdigit():
            raise ConfigError(what, "want job/ID, delivery/ID or failed")
        wanted = [(noun, int(number))]
    for noun, key in wanted:
        (store.reset_job if noun == "job" else store.reset_delivery)(key, actor)
        yield f"{noun}/{key}"
