"""`overread report`: a month for those who oversee the node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from node import config as configuration
from node import options, papers
from node.options import DEFAULT_CONFIG, ConfigOption


def report(
    month: Annotated[str, typer.Option(help="Which one, as 2026-10; in UTC.")],
    html: papers.HtmlOption = None,
    pdf: Annotated[Path | None, typer.Option(help="Write a PDF there; -: to standard output.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """A month's governance report, from the database and its log: volumes, turnaround, results, alarms, changes."""
    from node.report import compose, html as page, month as months, pdf as paper  # noqa: I001

    papers.check(html, pdf)
    settings = configuration.load(config)
    now = time.time()
    when = months.period(month, now)
    if html is None and pdf is None:
        html = Path(f"overread-{when.name}.html")
    queries = options.queries(settings)
    with queries.engine.connect().execution_options(reading=True) as connection:
        made = compose.compose(connection, when, settings.node.ae_title, now)
    queries.dispose()
    wanted = {} if html is None else {html: page.render(made).encode()}
    papers.put(wanted if pdf is None else {**wanted, pdf: paper.render(made)})
