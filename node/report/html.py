"""The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from node.report.document import Report


def render(report: Report) -> str:
    """The page. What stands in the database is escaped, whatever it holds."""
    environment = Environment(loader=PackageLoader("node.report", "."), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["count"] = lambda value: f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return environment.get_template("page.html").render(report=report).strip() + "\n"
