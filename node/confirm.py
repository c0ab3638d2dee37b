"""Storage commitment in the send loop: asks peers whether they keep what we delivered, tells them what we hold."""

from __future__ import annotations

from node import faults, logs, retry
from node.commitment import Report, Request
from node.config import Config
from node.errors import GiveUp, TryAgain
from node.peers import commitment
from node.queries import Queries
from node.sections import Peer
from node.spool import Spool
from node.store import Asking, Commitment, Store

log = logs.get(__name__)
WAIT_HERE = 1.0  # seconds that the peer's answer may take on the association of the request


def concerns(peer: Peer) -> bool:
    """Whether there may be anything to do for `peer` here."""
    return "commit" in peer.may or peer.commitment == "ask"


def release(store: Store, worker: str) -> None:
    """Take back what this worker was at when it died."""
    store.release_askings(worker)
    store.release_commitments(worker)


def step(config: Config, peer: Peer, store: Store, spool: Spool, worker: str) -> bool:
    """Do the next thing that is due for `peer`; False when there was none. Raises TryAgain without a database."""
    if "commit" in peer.may:
        asked = store.claim_commitment(worker, peer.name, config.send.lease)
        if asked is not None:
            tell(config, peer, store, spool, asked)
            return True
    if peer.commitment == "ask":
        for study, output, again in store.end_waiting(peer.name, config.send.commitment_attempts):
            log.warning("no answer about storage commitment", peer=peer.name, study=study, output=output, again=again)
        asking = store.claim_asking(worker, peer.name, config.send.lease)
        if asking is not None:
            ask(config, peer, store, asking)
            return True
    return False


def answer(queries: Queries, spool: Spool, asked: Commitment) -> Report:
    """What is to be said about the instances of a request: looked up now, in the database and on the disk."""
    failed = queries.not_held(asked.references, spool.path)
    kept = tuple(one for one in asked.references if one not in failed)
    return Report(asked.transaction_uid, kept, tuple(failed.items()))


def take(config: Config, store: Store, peer: str, report: Report, actor: str) -> bool:
    """Settle the delivery that a peer's answer is about; False when we never asked for it."""
    again_at = store.clock() + config.send.retry_after
    word = store.take_report(peer, report, config.send.commitment_attempts, again_at, actor)
    if word in ("due", "failed"):
        log.warning("a peer does not keep what we delivered", peer=peer, failed=len(report.failed), delivery=word)
    elif word == "committed":
        log.info("committed", peer=peer, instances=len(report.committed))
    return word is not None


def tell(config: Config, peer: Peer, store: Store, spool: Spool, asked: Commitment) -> None:
    """Answer one claimed request on an association of our own, and settle its row."""
    faults.point("send.telling")
    try:
        report = answer(Queries(store.engine), spool, asked)
        commitment.report(config, peer, report)
    except GiveUp as error:
        store.fail_commitment(asked, error.reason)
        log.error("storage commitment cannot be answered", peer=peer.name, reason=error.reason)
        return
    except TryAgain as error:
        if asked.attempts >= config.send.attempts:
            store.fail_commitment(asked, f"{error.reason} ({asked.attempts} attempts)")
            log.error("storage commitment cannot be answered", peer=peer.name, reason=error.reason)
            return
        pause = retry.backoff(asked.attempts, config.send.retry_after, config.send.longest_wait)
        store.retry_commitment(asked, error.reason, store.clock() + pause)
        log.warning("storage commitment answer waits", peer=peer.name, reason=error.reason, seconds=round(pause, 1))
        return
    faults.point("send.told")
    store.finish_commitment(asked, dict(report.failed))
    log.info("storage commitment answered", peer=peer.name, committed=len(report.committed), failed=len(report.failed))


def ask(config: Config, peer: Peer, store: Store, asking: Asking) -> None:
    """Send one claimed request, and settle its row; the answer may be taken here or by the listener."""
    faults.point("send.asking")
    try:
        commitment.ask(
            config, peer, Request(asking.transaction_uid, asking.references), WAIT_HERE,
            lambda: store.asked(asking, store.clock() + config.send.commitment_wait),
            lambda report: _take(config, store, peer.name, report),
        )  # fmt: skip
    except GiveUp as error:
        store.give_up_asking(asking, error.reason)
        log.warning("storage commitment is not to be had", peer=peer.name, reason=error.reason)
    except TryAgain as error:
        if asking.attempts >= config.send.attempts:
            store.give_up_asking(asking, f"{error.reason} ({asking.attempts} attempts)")
            log.warning("storage commitment could not be asked for", peer=peer.name, reason=error.reason)
            return
        pause = retry.backoff(asking.attempts, config.send.retry_after, config.send.longest_wait)
        store.retry_asking(asking, error.reason, store.clock() + pause)
        log.warning("storage commitment request waits", peer=peer.name, reason=error.reason, seconds=round(pause, 1))


def _take(config: Config, store: Store, peer: str, report: Report) -> None:
    faults.point("send.report-heard")
    take(config, store, peer, report, "send")
    faults.point("send.report-taken")
