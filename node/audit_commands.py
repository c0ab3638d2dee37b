"""`overread audit ...`: whether the log holds, its signed heads, its copies, and erasing who a patient is."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import config as configuration
from node import options, papers, screens
from node.config import Config
from node.errors import ConfigError, GiveUp, TryAgain
from node.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, WhyOption

if TYPE_CHECKING:
    from node.proof.heads import Keys
    from node.proof.verify import Verdict
    from node.queries import Queries
    from node.store import Store

app = typer.Typer(no_args_is_help=True, help="The audit log.", rich_markup_mode=None)


def user() -> str:
    """Who gave the command."""
    return f"user/{getpass.getuser()}"


def opened(path: Path) -> tuple[Config, Queries, Store]:
    """The configuration and both sides of its database. Raises ConfigError where there is none yet."""
    settings, store = options.opened(path)
    return settings, options.queries(settings), store


@app.command()
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    heads: Annotated[Path | None, typer.Option(help="A file of exported tree heads; default: the node's own.")] = None,
    key: Annotated[Path | None, typer.Option(help="The public keys (PEM) that signed them.")] = None,
    json: JsonOption = False,
) -> None:
    """Hold the whole log against its chain and its signed heads; names the first event that does not hold."""
    from node.telling.sentences import sentence

    settings, queries, store = opened(config)
    verdict, notes = look(settings, queries, heads, key)
    body = {"events": verdict.events, "heads": verdict.heads, "broken": verdict.broken, "by": user()}
    try:
        store.note("audit.verified", user(), "audit", body)
    except TryAgain as error:  # such as a copy that may only be read
        notes.append(f"that it was verified is not in the log: {error.reason}")
    if json:
        told = [{"event": one.seq, "at": one.at, **one.body} for one in verdict.restored]
        screens.as_json({**vars(verdict), "restored": told, "notes": notes})
    else:
        screens.out.print(verdict.broken or _says(verdict), markup=False, soft_wrap=True)
        for one in verdict.restored:
            screens.out.print(f"event {one.seq}, {one.at[:19]} UTC: {sentence(one)}", markup=False, soft_wrap=True)
        for note in notes:
            screens.err.print(note, markup=False, soft_wrap=True)
    raise typer.Exit(1 if verdict.broken else 0)


def look(settings: Config, queries: Queries, file: Path | None, key: Path | None) -> tuple[Verdict, list[str]]:
    """Verify with the heads and keys that are named, or else with the node's own; what could not be looked at, in
    words. Raises ConfigError where one that is named is not there."""
    from node.proof import heads as signed
    from node.proof.verify import Verdict

    notes: list[str] = []
    path = file or settings.heads_folder / signed.FILE
    exported = {}
    if path.exists():
        found, wrong = signed.read_heads(path)
        if wrong is not None:
            return Verdict(0, wrong), notes
        exported[str(path)] = found
    elif file is not None:
        raise ConfigError(str(file), "no such file of tree heads")
    else:
        notes.append(f"not held against exported heads: there is no {path}")
    keys = _keys(key or settings.heads_folder / signed.PUBLIC, key is not None, notes)
    return queries.prove(exported, keys, os.cpu_count() or 1), notes


def _keys(path: Path, named: bool, notes: list[str]) -> Keys | None:
    from node.proof.heads import read_keys

    if named or path.exists():
        return read_keys(path)
    notes.append(f"signatures not checked: there is no {path}")
    return None


def _says(verdict: Verdict) -> str:
    told = f"{verdict.events} events hold"
    if verdict.heads:
        told += f", {verdict.signed} of them under {verdict.heads} signed heads"
    return told + (f"; {verdict.purged} are purged" if verdict.purged else "")


@app.command()
def restored(
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
    heads: Annotated[Path | None, typer.Option(help="A file of exported tree heads; default: the node's own.")] = None,
) -> None:
    """Put on record, signed, that the database is an older copy of itself: which exported heads are of lost events."""
    from node.proof import heads as signed
    from node.proof import restored as restoring

    settings, queries, store = opened(config)
    path = heads or settings.heads_folder / signed.FILE
    if not path.exists():
        raise ConfigError(str(path), "no such file of tree heads")
    found, wrong = signed.read_heads(path)
    lost, stored = queries.lost_heads(found)
    signer = signed.open_signer(settings.signing_key, settings.heads_folder)
    keys = signed.read_keys(settings.heads_folder / signed.PUBLIC)
    if wrong is not None or not lost:
        raise GiveUp(wrong or f"the database has every head of {path}: nothing is lost")
    strange = next((head for head in lost if not head.holds(keys)), None)
    if strange is not None:
        raise GiveUp(f"the head of {strange.size} events in {path} is not signed with a key of this node")
    verdict = queries.prove({str(path): [head for head in found if head not in lost]}, keys)
    if verdict.broken is not None:
        raise GiveUp(f"more is wrong than a restore explains: {verdict.broken}")
    body = restoring.body(lost, stored, found, by, why)
    store.note(restoring.TYPE, f"user/{by}", "audit", body)
    store.sign_head(signer.sign, 1, 0.0)
    screens.out.print(f"on record: up to {body['lost_at_most']} events are lost, under {len(lost)} heads", markup=False)


@app.command()
def heads(
    config: ConfigOption = DEFAULT_CONFIG,
    public_key: Annotated[bool, typer.Option("--public-key", help="Print the public keys that signed (PEM).")] = False,
    json: JsonOption = False,
) -> None:
    """The signed tree heads: how many events, when, the root, the signature."""
    from node.proof.heads import PUBLIC

    settings = configuration.load(config)
    if public_key:
        path = settings.heads_folder / PUBLIC
        if not path.exists():
            raise ConfigError(str(path), "there is no key yet; `overread serve` makes one")
        screens.out.print(path.read_text(encoding="ascii").rstrip(), markup=False, soft_wrap=True)
        return
    found = options.queries(settings).heads()
    if json:
        screens.as_json([{**vars(head), "at": head.at} for head in found])
        return
    for head in found:
        screens.out.print(f"{head.at}  {head.size:>9} events  {head.root}  key {head.key[:16]}", soft_wrap=True)
    screens.out.print(f"{len(found)} heads; the file is {settings.heads_folder / 'heads.jsonl'}", soft_wrap=True)


@app.command()
def export(
    format: Annotated[str, typer.Option(help="csv, jsonl, atna (DICOM PS3.15) or fhir (R4 AuditEvent).")] = "jsonl",
    out: Annotated[Path, typer.Option(help="The file; -: standard output.")] = papers.STDOUT,
    since: Annotated[str, typer.Option("--from", help="A date or time (ISO 8601, UTC).")] = "",
    until: Annotated[str, typer.Option("--to", help="Events before it.")] = "~",
    study: Annotated[str | None, typer.Option(help="Of one StudyInstanceUID alone.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write events out of the log, one a line; that it was done is an event too."""
    from functools import lru_cache

    from node.telling import copies

    if format not in copies.FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(copies.FORMATS)}")
    settings, queries, store = opened(config)
    about = None if study is None else f"study/{study}"
    given = {"study": study, "from": since, "to": until}
    asked = {key: value for key, value in given.items() if value not in (None, "", "~")}
    events = queries.log(since=_time(since), until=_time(until, "~"), object_=about)
    count = 0
    with contextlib.ExitStack() as stack:
        try:
            to_file = out != papers.STDOUT
            file = stack.enter_context(out.open("w", encoding="utf-8", newline="\n")) if to_file else sys.stdout
            for line in copies.lines(
                events, format, settings.node.ae_title, lru_cache(10_000)(queries.patient_digests)
            ):
                file.write(f"{line}\n")
                count += 1
        except OSError as error:
            place = str(out) if to_file else "standard output"
            raise ConfigError(place, f"cannot be written ({error.strerror})") from error
        finally:  # what was read is on record, also where the reader broke off
            count -= format == "csv" and count > 0  # the titles
            body = {"format": format, "count": count, "by": user(), **asked}
            store.note("audit.exported", user(), "audit", body)
    screens.err.print(f"{count} {'messages' if format == 'atna' else 'events'} written", markup=False)


def _time(text: str, default: str = "") -> str:
    """A date or time as the log writes its own: UTC."""
    if text == default:
        return text
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date or time, such as 2026-01-31 or 2026-01-31T08:00") from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.isoformat(timespec="microseconds")


@app.command()
def erase(
    patient: Annotated[str, typer.Option(help="The PatientID.")],
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Erase who a patient is beside the log, whose events name a digest; the log still holds."""
    _, store = options.opened(config)
    gone = store.erase_patient(patient, by, why)
    screens.out.print(f"{gone} rows erased; files in the spool stay until they are purged")
