"""`overread label import|list` and `overread concordance`: what was reported, and how results stand to it."""

from __future__ import annotations

import getpass
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import config as configuration
from node import options, screens
from node.errors import ConfigError
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from node.concordance import Concordance, Concordances, Part
    from node.rates import Rate
    from node.watch.performance import Estimate

app = typer.Typer(no_args_is_help=True, help="What was reported of studies.", rich_markup_mode=None)
_DAY = ["%Y-%m-%d"]
_AT_ONCE = 500  # labels in one transaction: the listener waits meanwhile
_WORDS = {"added": "added", "replaced": "replaced another value", "withdrawn": "withdrawn", "same": "known already",
          "older": "older than what is known", "unknown": "of studies that are not here"}  # fmt: skip


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: accession or study, finding, value, date, source.")],
    config: ConfigOption = DEFAULT_CONFIG,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out lines that are no labels.")] = False,
    json: JsonOption = False,
) -> None:
    """Import labels; the same rows again change nothing."""
    from node import label_files
    from node.store import Store

    settings = configuration.load(config)
    found, faults = label_files.read(file)
    for fault in faults[: label_files.MOST_FAULTS]:
        screens.err.print(f"{file}, line {fault.line}: {fault.reason}", markup=False, soft_wrap=True)
    if len(faults) > label_files.MOST_FAULTS:
        screens.err.print(f"and {len(faults) - label_files.MOST_FAULTS} more lines")
    if faults and not skip_bad:
        raise ConfigError(str(file), f"{len(faults)} lines are no labels; nothing is imported (--skip-bad: the others)")
    options.queries(settings).dispose()  # says so where there is no database yet
    store = Store(settings.node.database)
    words: Counter[str] = Counter()
    for start in range(0, len(found), _AT_ONCE):
        some = store.add_labels(found[start : start + _AT_ONCE], f"user/{getpass.getuser()}")
        words.update(one.word for one in some)
    known = _reads(config).findings()
    strange = sorted({label.finding for label in found} - known)
    if json:
        screens.as_json({"rows": len(found), "bad": len(faults), "of_no_result": strange,
                         **{word: words[word] for word in _WORDS}})  # fmt: skip
        return
    told = ", ".join(f"{words[word]} {said}" for word, said in _WORDS.items() if words[word])
    left_out = f"; {len(faults)} lines left out" if faults else ""
    screens.out.print(f"{len(found)} labels: {told or 'nothing to do'}{left_out}")
    if strange:
        line = f"no result here has the finding {', '.join(strange)}; known: {', '.join(sorted(known)) or 'none'}"
        screens.out.print(line, markup=False, soft_wrap=True)


@app.command("list")
def list_(
    study: Annotated[str | None, typer.Argument(help="A StudyInstanceUID; default: the newest of all.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    most: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: JsonOption = False,
) -> None:
    """The labels that count, newest first, and what they replaced."""
    found = _reads(config).current_labels(study, most)
    if json:
        screens.as_json(found)
        return
    for one in found:
        before = "".join(f", before: {_yes(value)}" for value in one["before"])
        line = f"{one['study_uid']} {one['finding']}: {_yes(one['value'])} ({one['source']} {one['date']}".rstrip()
        screens.out.print(f"{line}; {screens.when(one['added_at'])}{before})", markup=False, soft_wrap=True)
    if not found:
        screens.out.print("no labels; `overread label import FILE.csv` adds some")


def concordance(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="From this day on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Up to this day (UTC).")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """How results stand to reports and reviews: by model, finding and subgroup, with 95 % intervals."""
    start = since.replace(tzinfo=UTC).timestamp() if since else 0.0
    end = (until.replace(tzinfo=UTC) + timedelta(days=1)).timestamp() if until else float("inf")
    if end <= start:
        raise ConfigError("--to", "lies before --from")
    found = _reads(config).of(pipeline, start, min(end, 1e15))
    if json:
        screens.as_json([asdict(one) for one in found])
        return
    for one in found:
        _print(one)
    if not found:
        screens.out.print("no results in that time")


def _reads(path: Path) -> Concordances:
    from node.concordance import Concordances

    return Concordances(options.queries(configuration.load(path)).engine)


def _yes(value: bool | None) -> str:
    return "withdrawn" if value is None else "present" if value else "absent"


def _print(one: Concordance) -> None:
    def say(line: str) -> None:
        screens.out.print(line, markup=False, soft_wrap=True, highlight=False)

    say(f"{one.pipeline}, {one.model}: {one.results} results; accepted as they were: {_rate(one.accepted)} reviewed")
    for finding in one.findings:
        sources = ", ".join(f"{count} {source}" for source, count in finding.sources.items())
        say(f"\n  {finding.name}: labels of {finding.parts[0].labelled} of {finding.parts[0].studies} studies"
            + (f" ({sources})" if sources else ""))  # fmt: skip
        for line in _lines(finding.parts[0]):
            say(f"    {line}")
        for part in finding.parts[1:]:
            held = part.decisions
            say(f"    {' '.join(part.group)}: {part.labelled} of {part.studies} labelled; sensitivity "
                f"{_rate(held.sensitivity)}, specificity {_rate(held.specificity)}, observed/expected "
                f"{_estimate(part.calibration.large)}")  # fmt: skip
    say("")


def _lines(part: Part) -> list[str]:
    held, calibration, promised = part.decisions, part.calibration, part.promised
    lines = []
    if part.labelled:
        lines += [
            f"false among the model's positives {_rate(held.false)}; missed among its negatives {_rate(held.missed)}",
            f"sensitivity {_rate(held.sensitivity)}; specificity {_rate(held.specificity)}; predictive value "
            f"{_rate(held.predictive_value)}",
        ]  # fmt: skip
    if calibration.studies:
        chance = "" if calibration.by_chance is None else f" (up to {calibration.by_chance:.3f} by chance)"
        lines += [
            f"calibration: observed/expected {_estimate(calibration.large)}; intercept "
            f"{_estimate(calibration.intercept)}; slope {_estimate(calibration.slope)}",
            f"expected calibration error {_estimate(calibration.error)}{chance}",
        ]
    if promised.studies:
        told = [f"{name} {_estimate(value)}" for name, value in (
            ("sensitivity", promised.sensitivity), ("predictive value", promised.predictive_value),
            ("AUROC", promised.auroc), ("prevalence", promised.prevalence))]  # fmt: skip
        lines.append(f"promised by the probabilities of {promised.studies} studies, without labels: {', '.join(told)}")
    return lines


def _rate(one: Rate) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "- (0 of 0)"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}] ({one.count} of {one.of})"


def _estimate(one: Estimate | None) -> str:
    return "-" if one is None else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
