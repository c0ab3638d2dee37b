"""Puts the parts of the report together."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from node import __version__
from node.proof.verify import verify
from node.report import former, operation, oversight, results
from node.report.document import Figure, Report, quantile, seconds, share
from node.report.month import Month, Period, read


def compose(connection: sa.Connection, when: Period, site: str, now: float) -> Report:
    """The report of a month of the node that is called `site` (its AE title). `now`: seconds since the epoch."""
    month, before = read(connection, when), read(connection, when.former)
    found = verify(connection, {}, None)  # without heads from elsewhere, as the report says
    verified = found.events - found.purged, found.broken
    sections = (
        operation.volumes(month), operation.turnaround(month), operation.failures(month), results.scores(month),
        results.agreement(month), results.subgroups(month), former.compared(before, month, now),
        oversight.alarms(month), oversight.models(connection, month), oversight.changes(month),
        oversight.log(month, verified), oversight.limits(month),
    )  # fmt: skip
    name = datetime.fromtimestamp(when.start, UTC).strftime("%B %Y")
    made = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    so_far = "" if when.complete else " (until now)"
    return Report(
        f"AI governance report: {name}{so_far}", f"Node {site}, Overread {__version__}", f"Made on {made}",
        _figures(month, verified[1]), sections,
    )  # fmt: skip


def _figures(month: Month, broken: str | None) -> tuple[Figure, ...]:
    jobs = [job for job in month.jobs if job.state in ("done", "skipped", "failed")]
    failed = sum(job.state == "failed" for job in jobs)
    skipped = sum(job.state == "skipped" for job in jobs)
    lost = sum(one.state == "failed" for one in month.deliveries)
    still = sum(one["cleared_at"] is None for one in month.alarms)
    instances = sum(many for _, many, _ in month.instances.values())
    return (
        Figure("Studies received", f"{len(month.studies):,}", f"{instances:,} instances"),
        Figure("Jobs done", f"{len(jobs) - failed - skipped:,}", f"{share(skipped, len(jobs))} skipped"),
        Figure("Jobs failed", f"{failed:,}", f"{share(failed, len(jobs))} of {len(jobs):,}", failed == 0),
        Figure("Deliveries given up", f"{lost:,}", f"{len(month.sent):,} delivered", lost == 0),
        Figure("Received to delivered", seconds(quantile(month.delivered_after, 0.5)),
               f"median; 90 % within {seconds(quantile(month.delivered_after, 0.9))}"),
        Figure("Alarms", f"{len(month.alarms):,}", f"{still:,} still open", still == 0),
        Figure("Audit log", "holds" if broken is None else "BROKEN", f"{sum(month.events.values()):,} events",
               broken is None),
    )  # fmt: skip
