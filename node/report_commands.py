"""`overread report`: a month for those who oversee the node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node import config as configuration
from node import options, screens
from node.errors import ConfigError
from node.options import DEFAULT_CONFIG, ConfigOption


def report(
    month: Annotated[str, typer.Option(help="Which one, as 2026-10; in UTC.")],
    html: Annotated[Path | None, typer.Option(help="Write one HTML file.")] = None,
    pdf: Annotated[Path | None, typer.Option(help="Write a PDF.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """A month's governance report, from the database and its log: volumes, turnaround, results, alarms, changes."""
    from node.report import compose, html as page, month as months, pdf as paper  # noqa: I001

    settings = configuration.load(config)
    now = time.time()
    when = months.period(month, now)
    if html is None and pdf is None:
        html = Path(f"overread-{when.name}.html")
    queries = options.queries(settings)
    with queries.engine.connect().execution_options(reading=True) as connection:
        made = compose.compose(connection, when, settings.node.ae_title, now)
    queries.dispose()
    for path, content in (
        (html, page.render(made).encode() if html else b""),
        (pdf, paper.render(made) if pdf else b""),
    ):
        if path is not None:
            try:
                path.write_bytes(content)
            except OSError as error:
                raise ConfigError(str(path), f"cannot be written ({error.strerror})") from error
            screens.out.print(f"wrote {path}", markup=False, soft_wrap=True)
