"""The parts of the report about oversight: alarms, models, changes, the audit log; and what the report cannot say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.report.document import Block, Section, Table, Text, seconds
from node.report.month import Month
from node.report.operation import without_uids
from node.report.results import short_of
from node.schema import jobs
from node.telling.sentences import sentence
from node.watch.observe import family_of

_MOST = 40  # changes that are listed
_LONGEST = 240  # characters of a change
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
_CHANGES = ("node.started", "node.configured", "model.", "route.", "baseline.", "clock.stepped", "golden.recorded",
            "golden.accepted", "golden.mismatch", "patient.erased")  # fmt: skip


def alarms(month: Month) -> Section:
    """What monitoring raised, and what became of it."""
    if not month.alarms:
        return Section("Alarms of monitoring", (Text("No alarm was open in this month."),))
    rows = tuple(
        (f"{one['id']}", _day(one["opened_at"]), _family(one["family"]), f"{one['story'].get('says', one['channel'])}",
         _became(one), _took(one))
        for one in month.alarms
    )  # fmt: skip
    columns = ("No.", "Opened", "Model", "What it said", "What became of it", "Until seen")
    return Section("Alarms of monitoring", (
        Table("Alarms that were open in the month", columns, rows, 6),
        Text("Until seen: from the alarm to the person who acknowledged it. The command overread alarms NUMBER tells "
             "the whole story of one.", True),
    ))  # fmt: skip


def _family(text: str) -> str:
    pipeline, model, *_ = (*text.split("|"), "")
    return short_of(model) or pipeline


def _became(one: Mapping[str, Any]) -> str:
    if one["resolved_at"] is not None:
        why = f": {one['why']}" if one["why"] else ""
        return f"{str(one['resolution']).replace('-', ' ')}, by {one['resolved_by']}{why}"
    if one["cleared_at"] is not None:
        return f"cleared by itself on {_day(one['cleared_at'])}"
    if one["acknowledged_at"] is not None:
        return f"acknowledged by {one['acknowledged_by']}, not resolved"
    return "OPEN, not acknowledged"


def _took(one: Mapping[str, Any]) -> str:
    return seconds(one["acknowledged_at"] - one["opened_at"]) if one["acknowledged_at"] is not None else "–"


def models(connection: sa.Connection, month: Month) -> Section:
    """Every model version that ever ran, and what it did in this month."""
    rows = []
    seen = connection.execute(
        sa.select(jobs.c.pipeline, jobs.c.model, sa.func.min(jobs.c.finished_at).label("first"),
                  sa.func.max(jobs.c.finished_at).label("last"), sa.func.count().label("count"))
        .where(jobs.c.model.is_not(None), jobs.c.finished_at < month.period.end)
        .group_by(jobs.c.pipeline, jobs.c.model).order_by(jobs.c.pipeline, sa.func.min(jobs.c.finished_at))
    )  # fmt: skip
    for row in seen:
        told = json.loads(row.model)
        name = f"{told.get('name', '?')} {told.get('version', '')}".strip()
        model = family_of("", told, "")[1]
        here = sum(job.pipeline == row.pipeline and job.model == model and job.state == "done" for job in month.jobs)
        digest = str(told.get("digest", ""))[:12]
        rows.append((row.pipeline, name, digest, _day(row.first), _day(row.last), f"{here:,}", f"{row.count:,}"))
    if not rows:
        return Section("Models", (Text("No model has run yet."),))
    columns = ("Pipeline", "Model", "Digest", "First result", "Last result", "Jobs this month", "Jobs ever")
    return Section("Models", (
        Table("Model versions that made results", columns, tuple(rows), 5),
        Text("The digest covers the model's card and weights; its first twelve digits are shown. The same version with "
             "another digest is another model.", True),
    ))  # fmt: skip


def changes(month: Month) -> Section:
    """What people or machines changed: starts, configurations, models, modes, baselines."""
    chosen = [event for event in month.told if event.type.startswith(_CHANGES)]
    starts = [event for event in chosen if event.type == "node.started"]
    configurations = {str(event.body.get("config")) for event in starts}
    versions = sorted({str(event.body.get("version")) for event in starts})
    text = (
        f"The node was started {len(starts)} times, with {len(configurations)} different configurations"
        f" and software version {' and '.join(versions)}." if starts else "The node was not started anew in this month."
    )  # fmt: skip
    runs, wrong = month.events.get("golden.passed", 0), month.events.get("golden.mismatch", 0)
    if runs + wrong:
        text += f" Of {runs + wrong} runs of the golden set {wrong} did not give what is on record."
    blocks: list[Block] = [Text(text)]
    if chosen:
        shown = chosen[-_MOST:]
        rows = tuple((_moment(event), event.actor, _words(event)) for event in shown)
        title = "Changes, from the log" + (f" (the last {_MOST} of {len(chosen)})" if len(chosen) > _MOST else "")
        blocks.append(Table(title, ("When (UTC)", "By", "What"), rows, 3))
    return Section("Changes", tuple(blocks))


def log(month: Month, verified: tuple[int, str | None]) -> Section:
    """The state of the audit log; `verified`: how many events hold, and a line about the first that does not."""
    count, broken = verified
    total = sum(month.events.values())
    state = f"All {count:,} events of the log hold: none was changed, taken out or put in between." if broken is None \
        else f"THE LOG DOES NOT HOLD: {broken}. The {count:,} events before it do."  # fmt: skip
    blocks: list[Block] = [Text(f"{state} {total:,} of them are of this month.")]
    checks = [event for event in month.told if event.type.startswith("audit.") and event.type != "audit.head"]
    if checks:
        rows = tuple((_moment(event), event.actor, _words(event)) for event in checks[-_MOST:])
        blocks.append(Table("What was done with the log", ("When (UTC)", "By", "What"), rows, 3))
    blocks.append(Text(
        "The log was verified when this report was made. A chain alone does not show that its owner wrote all of it "
        "anew: compare with tree heads that were exported and are kept elsewhere.", True))  # fmt: skip
    return Section("The audit log", tuple(blocks))


def limits(month: Month) -> Section:
    """What cannot be read from the numbers above."""
    lines = [
        "Whether a radiologist looked at a result, or acted on it, is not known here; only what was delivered, and "
        "what was told back.",
        "Positive rates say what the models said, not what patients have. Sensitivity and specificity are known only "
        "as far as labels came, and labels may be wrong or late.",
        "A month without an alarm means that no watched number moved far enough for long enough; a small site sees "
        "small changes late.",
        "Times of a study are those of its newest revision.",
    ]
    if not month.period.complete:
        lines.insert(0, "The month is not over: all numbers are of the part that has passed.")
    return Section("What this report cannot say", tuple(Text(line) for line in lines))


def _words(event: Event) -> str:
    noun, _, name = event.object.partition("/")
    about = f"{noun} {name}: " if noun in ("route", "pipeline") else ""
    text = without_uids(_DIGEST.sub(r"\1", about + sentence(event)))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _moment(event: Event) -> str:
    return event.at[:16].replace("T", " ")


def _day(at: float | None) -> str:
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
