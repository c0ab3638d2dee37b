"""`overread check`: what the configuration amounts to, and whether everything it names is there."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ModelError
from models.shelf import Shelf, bundled
from node import peers, schema, tls, variants
from node.config import Config, without_password
from node.errors import ConfigError, TryAgain
from node.modes import SAYS, Mode, in_force
from node.peers.commitment import offers_commitment
from node.peers.find import takes_queries
from node.queries import open_queries
from node.routes import Routes, header_values
from node.sections import ALL_EVIDENCE
from pipelines import registry
from pipelines.base import Unsuitable
from pipelines.study import Study

if TYPE_CHECKING:
    from node import certificates

_RENEW = 30  # days that a certificate should have left


@dataclass(frozen=True)
class Line:
    """One finding. `ok` is None for plain information."""

    area: str
    subject: str
    ok: bool | None
    text: str


def check(config: Config, echo: bool = True) -> Iterator[Line]:
    """Yield what is found, area by area; nothing is changed."""
    yield from _node(config)
    yield from _tls(config)
    yield from _web(config)
    yield from _database(config)
    yield from _routes(config)
    yield from _pipelines(config)
    yield from _peers(config, echo)


def explain_study(config: Config, folder: Path) -> Iterator[Line]:
    """Why each route and pipeline would or would not take the study in `folder`. Raises NotAStudy."""
    study = Study.from_folder(folder)
    routes = Routes(config, registry.names())
    headers = [header_values(series.instances[0].header, routes.keywords) for series in study.series]
    instances = len(study.instances)
    yield Line("study", study.StudyInstanceUID, None, f"{instances} instances in {len(study.series)} series, "
               f"{study.skipped_files} other files")  # fmt: skip
    senders = [peer.name for peer in config.peers if "store" in peer.may]
    promoted, stored = _decided(config)
    plan = routes.plan(headers, senders, stored)
    for answer in plan.answers:
        yield Line("route", answer.route, answer.takes, answer.reason)
    for name, named_by, to, priority in plan.jobs:
        pipeline = variants.load(variants.live(name, promoted), config)
        try:
            series = pipeline.select(study)
        except Unsuitable as error:
            yield Line("pipeline", name, False, error.reason)
        else:
            yield Line("pipeline", name, True, f"takes series {series.get('SeriesNumber', '?')} "
                       f"({len(series.instances)} instances) for {', '.join(named_by)}; results go to "
                       f"{', '.join(to) or 'nobody'}; priority {priority}")  # fmt: skip
    if not plan.jobs:
        yield Line("study", study.StudyInstanceUID, False, "no route takes it: it would be kept, and nothing would run")


def _node(config: Config) -> Iterator[Line]:
    node = config.node
    plain = f"{node.host}:{node.port} in plain text" if node.plain else ""
    secure = f"{node.host}:{node.tls_port} over TLS" if node.tls_port else ""
    where = " and ".join(place for place in (plain, secure) if place)
    yield Line("node", node.ae_title, None, f"listens on {where}, at most {node.max_associations} associations")
    place = next(folder for folder in (node.spool, *node.spool.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    room = f"{free / 2**30:.1f} GiB free; below {node.min_free_disk / 2**30:.1f} GiB instances are refused (0xA700)"
    fault = "" if writable else "cannot be written; "
    yield Line("disk", str(node.spool), writable and free > node.min_free_disk, fault + room)
    keep = config.keep
    ages = (("studies", keep.studies), ("results", keep.results), ("failed ones", keep.failed),
            ("committed ones", keep.committed))  # fmt: skip
    told = ", ".join(f"{what} {f'for {days:g} days' if days else 'for ever'}" for what, days in ages)
    full = f"the oldest go when more than {keep.high_watermark:.0%} of the disk are in use"
    yield Line("keep", str(node.spool), None, f"{told}; {full}, but none within {keep.at_least:g} days")


def _tls(config: Config) -> Iterator[Line]:
    node = config.node
    if not node.tls_port and not any(peer.tls for peer in config.peers):
        yield Line("tls", "off", None, "patients' data crosses the network in plain text (docs/security.md)")
        return
    from node import certificates  # imports cryptography, which no other command needs

    asked = "callers must show a certificate" if node.knows_callers else "callers show NO certificate"
    yield Line("tls", "listener", None, f"TLS 1.2 or later; {asked}" if node.tls_port else "off: only we call over TLS")
    now = datetime.datetime.now(datetime.UTC)
    own = None
    for key in ("certificate", "ca"):
        path: Path | None = getattr(node, key)
        try:
            if path is not None:
                found = certificates.read(path)
                own = found if key == "certificate" else own
                ok, valid = _validity(found, now)
                yield Line("tls", key, ok, f"{found.subject}, issued by {found.issuer}, {valid}")
        except ConfigError as error:
            yield Line("tls", key, False, str(error))
    if own is not None and node.key is not None:
        yield _own_key(node.key, own)
    try:
        if node.tls_port:
            tls.server_context(node, node.knows_callers)
        if any(peer.tls for peer in config.peers):
            tls.client_context(node)
    except ConfigError as error:
        yield Line("tls", "OpenSSL", False, str(error))


def _validity(found: certificates.Facts, now: datetime.datetime) -> tuple[bool | None, str]:
    left = (found.not_after - now).days
    if found.not_before > now:
        return False, f"valid only from {found.not_before:%Y-%m-%d %H:%M} UTC: is the clock right?"
    if found.not_after < now:
        return False, f"expired on {found.not_after:%Y-%m-%d}: no association over TLS comes about"
    until = f"valid until {found.not_after:%Y-%m-%d}"
    # Nothing is wrong yet, so a service whose start hangs on this check still starts.
    return (True, until) if left >= _RENEW else (None, f"{until}, {left} days: RENEW it, then start the node again")


def _own_key(path: Path, own: certificates.Facts) -> Line:
    from node import certificates

    try:
        if certificates.key_of(path) != own.public_key:
            return Line("tls", "key", False, f"{path} does not belong to the certificate")
        if path.stat().st_mode & 0o007:
            return Line("tls", "key", False, f"{path} may be read or written by everybody here: chmod 600")
    except ConfigError as error:
        return Line("tls", "key", False, str(error))
    return Line("tls", "key", True, "belongs to the certificate")


def _web(config: Config) -> Iterator[Line]:
    web = config.web
    if not web.port:
        return
    from node.web.tokens import Tokens  # with the web server, which no other command needs

    where = f"{'https' if web.tls else 'http'}://{web.host}:{web.port}"
    try:
        told = f"{len(Tokens(web.token_file))} callers have a token"
    except ConfigError as error:
        yield Line("web", where, False, str(error))
        return
    anybody = "; /metrics and /healthz answer anybody" if web.open_metrics or web.is_local else ""
    yield Line("web", where, True, told + anybody)


def _database(config: Config) -> Iterator[Line]:
    url = without_password(config.node.database)
    file = config.node.database.removeprefix("sqlite:///")
    if config.node.database.startswith("sqlite:///") and not Path(file).exists():
        yield Line("database", url, True, "does not exist yet; `overread serve` creates it")
        return
    try:
        queries = open_queries(config.node.database)
        version = queries.schema_version()
        if version != "empty":
            count, broken = queries.verify()
            yield Line("audit", "chain", broken is None, broken or f"{count} events hold")
    except (TryAgain, ModuleNotFoundError) as error:
        yield Line("database", url, False, str(error))
    else:
        newest = schema.newest_version()
        yield Line(
            "database", url, True, f"schema {version}" + ("" if version == newest else f", becomes {newest} at start")
        )


def _routes(config: Config) -> Iterator[Line]:
    Routes(config, registry.names())  # raises ConfigError for what cannot work
    stored = _decided(config)[1]
    force = in_force({route.name: route.mode for route in config.routes}, stored)
    for route in config.routes:
        wanted = ", ".join(f"{key} {_condition(value)}" for key, value in route.match.items()) or "every study"
        quiet = config.node.quiet_time if route.quiet_time is None else route.quiet_time
        wait = route.longest_wait or config.node.longest_wait
        senders = ", ".join(route.from_peers) or "anyone admitted"
        to = ", ".join(route.send_to) or "NOBODY: results stay here"
        text = f"{wanted}; from {senders} -> {', '.join(route.pipelines)} -> {to}"
        quietly = f"after {quiet:g} s of quiet" if "quiet" in route.evidence else "without a quiet time"
        unheard = [one for one in ALL_EVIDENCE if one not in route.evidence and one != "quiet"]
        without = f", whatever {' and '.join(unheard)} say" if unheard else ""
        complete = f"complete {quietly}{without}, {wait:g} s at most"
        if route.shadow:
            text += f"; beside it, never sent: {', '.join(route.shadow)}"
        mode = force[route.name]
        if mode != "live":
            text += f"; {mode}{' (set since)' if mode != route.mode else ''}: {SAYS[mode]}"
        yield Line("route", route.name, bool(route.send_to) or None, f"{text}; {complete}")
    if not config.routes:
        yield Line("route", "none", False, "no [[route]]: studies would be kept, and nothing would run")


def _pipelines(config: Config) -> Iterator[Line]:
    for name in variants.wanted(config, _decided(config)[0]):
        try:
            pipeline = variants.load(name, config)
            model = pipeline.model
        except (ModelError, ConfigError) as error:
            yield Line("pipeline", name, False, str(error))
            continue
        yield Line("pipeline", name, True, f"{pipeline.version}, takes {pipeline.accepts.words()}")
        yield Line("model", model["name"], True, f"{model['version']}, weights verified, digest {model['digest'][:16]}")
    yield from (Line("model", "shelf", False, problem) for problem in Shelf(bundled(), *config.work.models).problems())
    yield _device(config.work.device)


def _decided(config: Config) -> tuple[dict[str, str], dict[str, Mode]]:
    """Which versions people made live, and which modes were set, where there is a database that knows it."""
    url = config.node.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return {}, {}
    try:
        queries = open_queries(url)
        known = queries.schema_version() == schema.newest_version()
        return (queries.promoted(), queries.stored_modes()) if known else ({}, {})
    except (TryAgain, ModuleNotFoundError):  # told where the database is looked at
        return {}, {}


def _device(wanted: str) -> Line:
    from models.runtime import choose_runtime  # imports torch: only where the device is looked at

    try:
        found = choose_runtime(wanted)
    except ModelError as error:
        return Line("device", wanted, False, str(error))
    precision = str(found.precision).removeprefix("torch.")
    return Line("device", wanted, True, f"{found.device}, {precision}, {found.memory / 2**30:.1f} GiB for a job")


def _peers(config: Config, echo: bool) -> Iterator[Line]:
    destinations = {name for route in config.routes for name in route.send_to}
    for peer in config.peers:
        may = " and ".join(peer.may) or "nothing"
        over = " over TLS" if peer.tls else ""
        text = f"{peer.ae_title} at {peer.host}:{peer.port}{over}; may {may} here from "
        text += ", ".join(peer.addresses) or peer.host
        if peer.certificate_names:
            text += f" over TLS with a certificate for {' or '.join(peer.certificate_names)}"
        if peer.name in destinations:
            text += f"; gets {', '.join(peer.gets.words())}"
        asked = peer.commitment == "ask"
        if asked:
            text += "; is asked for storage commitment"
        queried = peer.commitment == "find" or any(one.count_from == peer.name for one in config.peers)
        if peer.commitment == "find":
            text += "; a C-FIND looks whether it keeps results"
        if peer.count_from is not None:
            text += f"; {peer.count_from} is asked how many instances its studies have"
        if echo:
            answer = peers.echo(config, peer)
            said = (
                f"C-ECHO answered in {answer.seconds * 1000:.0f} ms" if answer.ok else f"C-ECHO failed: {answer.reason}"
            )
            offered = offers_commitment(config, peer) if asked and answer.ok else None
            if offered is not None:
                said += ", takes such requests" if offered.ok else f", but: {offered.reason}"
            deaf = takes_queries(config, peer) if queried and answer.ok else None
            if queried and answer.ok:
                said += ", takes queries" if deaf is None else f", but: {deaf}"
            # A peer that only sends to us need not listen: its silence is worth knowing, and no fault.
            fault = False if peer.name in destinations or queried else None
            good = answer.ok and deaf is None and (offered is None or offered.ok is not False)
            yield Line("peer", peer.name, good or fault, f"{text}; {said}")
        else:
            yield Line("peer", peer.name, None, text)


def _condition(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return f"= {' or '.join(map(str, value)) if isinstance(value, list) else value}"
