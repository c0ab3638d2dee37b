"""The parts of the report about the service: volumes, turnaround, what failed or was skipped."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from node.report.document import Bars, Block, Section, Table, Text, quantile, seconds, share
from node.report.month import JobRow, Month

_MOST = 15  # rows of a table of reasons or devices
_ENDED = ("done", "skipped", "failed")
_UID = re.compile(r"\b\d+(?:\.\d+){3,}\b")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")


def volumes(month: Month) -> Section:
    """How much came, by peer, route, pipeline and device."""
    days = Counter(int((at - month.period.start) // 86400) for at in month.studies)
    numbers = range(month.period.days)
    blocks: list[Block] = [
        Bars("Studies received, by day", tuple(str(day + 1) for day in numbers),
             tuple(float(days[day]) for day in numbers), "day of the month (UTC)"),
        Table("By sender and modality", ("Sender", "Modality", "Studies", "Instances", "Size"),
              tuple((peer, modality, f"{count:,}", f"{many:,}", _size(size))
                    for (peer, modality), (count, many, size) in month.instances.items()), 2),
        _outcomes("By route", "Route", ((route, job) for job in month.jobs for route in job.routes)),
        _outcomes("By pipeline", "Pipeline", ((job.pipeline, job) for job in month.jobs)),
        _outcomes("By device", "Manufacturer and model", ((job.device, job) for job in month.jobs)),
    ]  # fmt: skip
    text = (
        "A job that two routes asked for counts under each. A study whose instances came late counts on the newest day."
    )
    return Section("Volumes", (*blocks, Text(text, True)))


def _outcomes(title: str, what: str, pairs: Iterable[tuple[str, JobRow]]) -> Table:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, job in pairs:
        counts[key][job.state if job.state in _ENDED else "open"] += 1
    ordered = sorted(counts.items(), key=lambda one: (-sum(one[1].values()), one[0]))
    rows = [_outcome_row(key, count) for key, count in ordered[:_MOST]]
    if len(ordered) > _MOST:
        rest: Counter[str] = Counter()
        for _, count in ordered[_MOST:]:
            rest.update(count)
        rows.append(_outcome_row(f"{len(ordered) - _MOST} others", rest))
    return Table(title, (what, "Jobs", "Done", "Skipped", "Failed", "Not ended"), tuple(rows))


def _outcome_row(key: str, count: Counter[str]) -> tuple[str, ...]:
    return (key, f"{sum(count.values()):,}", *(f"{count[state]:,}" for state in (*_ENDED, "open")))


def turnaround(month: Month) -> Section:
    """How long each step took."""
    now = [job for job in month.jobs if job.newest and job.state == "done" and job.finished and job.closed]
    sent = [one for one in month.sent if one.newest and one.finished]
    steps: list[tuple[str, list[float]]] = [
        ("First instance to study complete", [job.closed - job.received for job in now if job.closed]),
        ("Study complete to result made", [job.finished - job.closed for job in now if job.finished and job.closed]),
        ("Result made to delivered", [one.finished - one.created for one in sent if one.finished]),
        ("First instance to delivered", month.delivered_after),
    ]
    rows = tuple(
        (name, f"{len(values):,}", *(seconds(quantile(values, q)) for q in (0.5, 0.9, 0.99, 1.0)))
        for name, values in steps
    )
    table = Table("Duration of each step", ("Step", "n", "Median", "90 %", "99 %", "Longest"), rows)
    by = defaultdict(list)
    for one in sent:
        by[one.pipeline].append((one.finished or 0) - one.received)
    each = tuple(
        (name, f"{len(v):,}", *(seconds(quantile(v, q)) for q in (0.5, 0.9))) for name, v in sorted(by.items())
    )
    second = Table("First instance to delivered, by pipeline", ("Pipeline", "n", "Median", "90 %"), each)
    text = (
        "n: jobs, and below deliveries. The first step contains the wait for evidence that a study is complete. "
        "Studies of which instances came later than the result are left out. Where storage commitment was asked for, "
        "its answer is the end."
    )
    return Section("Turnaround", (table, second, Text(text, True)))


def failures(month: Month) -> Section:
    """What did not lead to a delivered result, and why."""
    ended = [job for job in month.jobs if job.state in _ENDED]
    failed = [job for job in ended if job.state == "failed"]
    skipped = [job for job in ended if job.state == "skipped"]
    lost = [one for one in month.deliveries if one.state == "failed"]
    blocks: list[Block] = [Text(
        f"Of {len(ended):,} jobs {len(failed):,} failed ({share(len(failed), len(ended))}) and {len(skipped):,} were "
        f"skipped because the study did not suit the pipeline ({share(len(skipped), len(ended))}). Of "
        f"{len(month.deliveries):,} deliveries {len(lost):,} were given up."
    )]  # fmt: skip
    for title, pairs in (
        ("Jobs that failed, by reason", [(job.pipeline, job.reason) for job in failed]),
        ("Jobs that were skipped, by reason", [(job.pipeline, job.reason) for job in skipped]),
        ("Deliveries that were given up, by reason", [(one.peer, one.reason) for one in lost]),
    ):
        if pairs:
            blocks.append(_reasons(title, "Peer" if "Deliveries" in title else "Pipeline", pairs))
    if len(blocks) > 1:
        blocks.append(Text("# stands for a number that differs from study to study.", True))
    trouble = (("association.refused", "callers that were not admitted"),
               ("instance.refused", "instances that were refused"),
               ("peer.away", "a peer was away"),
               ("loop.ended", "one of the node's processes ended by itself"),
               ("spool.full", "the disk was full"),
               ("web.refused", "requests to the web port that were refused"),
               ("message.refused", "callers and messages of HL7 that were refused"))  # fmt: skip
    counts = {**month.events, **month.refused}
    rows = tuple((says, f"{counts[type_]:,}") for type_, says in trouble if counts.get(type_))
    if rows:
        blocks.append(Table("Events of the service", ("What", "Times"), rows))
    return Section("Failures and skipped studies", tuple(blocks))


def _reasons(title: str, what: str, pairs: Sequence[tuple[str, str | None]]) -> Table:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for who, reason in pairs:
        counts[who, general(reason or "no reason given")][reason or "no reason given"] += 1
    ordered = sorted(((key, said, said.total()) for key, said in counts.items()), key=lambda one: -one[2])
    rows = [
        (
            who,
            reason if len(said) > 1 else general(next(iter(said)), numbers=True),
            f"{count:,}",
            share(count, len(pairs)),
        )
        for (who, reason), said, count in ordered[:_MOST]
    ]
    rest = sum(count for _, _, count in ordered[_MOST:])
    if rest:
        rows.append(("", f"{len(ordered) - _MOST} other reasons", f"{rest:,}", share(rest, len(pairs))))
    return Table(title, (what, "Reason", "Count", "Share"), tuple(rows), 2)


def general(reason: str, numbers: bool = False) -> str:
    """A reason without what is only one study's: UIDs and numbers (unless `numbers` stay), so that equal ones count
    together; a status such as 0xA900 stays."""
    text = without_uids(reason)
    return (text if numbers else _NUMBER.sub("#", text))[:160]


def without_uids(text: str) -> str:
    """A text with a word in the place of each UID."""
    return _UID.sub("(UID)", text)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
