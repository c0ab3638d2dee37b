"""Whether what was delivered is kept, in the send loop: asks peers for storage commitment or looks by C-FIND, and tells
those that ask what we hold."""

from __future__ import annotations

from node import dimse, logs, retry
from node.commitment import Report, Request
from node.config import Config
from node.errors import Away, GiveUp, TryAgain
from node.peers import commitment, find
from node.queries import Queries
from node.sections import Peer
from node.spool import Spool
from node.store import Asking, Commitment, Store

log = logs.get(__name__)
WAIT_HERE = 1.0  # seconds that the peer's answer may take on the association of the request
LOOKS = 3  # by C-FIND until what is missing is sent again: a peer may need a while until it finds what it stored


def concerns(peer: Peer) -> bool:
    """Whether there may be anything to do for `peer` here."""
    return "commit" in peer.may or peer.commitment != "none"


def release(store: Store, worker: str) -> None:
    """Take back what this worker was at when it died."""
    store.release_askings(worker)
    store.release_commitments(worker)


def step(config: Config, peer: Peer, store: Store, spool: Spool, worker: str) -> bool:
    """Do the next thing that is due for `peer`; False when there was none. Raises TryAgain without a database, and Away
    without the peer."""
    if "commit" in peer.may:
        asked = store.claim_commitment(worker, peer.name, config.send.lease)
        if asked is not None:
            tell(config, peer, store, spool, asked)
            return True
    if peer.commitment != "none":
        for study, output, again in store.end_waiting(peer.name, config.send.commitment_attempts):
            log.warning("no answer about storage commitment", peer=peer.name, study=study, output=output, again=again)
        asking = store.claim_asking(worker, peer.name, config.send.lease)
        if asking is not None:
            (ask if peer.commitment == "ask" else look)(config, peer, store, asking)
            return True
    return False


def answer(queries: Queries, spool: Spool, asked: Commitment) -> Report:
    """What is to be said about the instances of a request: looked up now, in the database and on the disk."""
    failed = queries.not_held(asked.references, spool.path)
    kept = tuple(one for one in asked.references if one not in failed)
    return Report(asked.transaction_uid, kept, tuple(failed.items()))


def take(
    config: Config, store: Store, peer: str, report: Report, actor: str, how: str = "storage commitment"
) -> bool:  # fmt: skip
    """Settle the delivery that a peer's answer is about; False when we never asked for it."""
    again_at = store.clock() + config.send.retry_after
    word = store.take_report(peer, report, config.send.commitment_attempts, again_at, actor, how)
    if word in ("due", "failed"):
        log.warning("a peer does not keep what we delivered", peer=peer, failed=len(report.failed), delivery=word)
    elif word == "committed":
        log.info("committed", peer=peer, instances=len(report.committed))
    return word is not None


def tell(config: Config, peer: Peer, store: Store, spool: Spool, asked: Commitment) -> None:
    """Answer one claimed request on an association of our own, and settle its row. Raises Away."""
    try:
        report = answer(Queries(store.engine), spool, asked)
        commitment.report(config, peer, report)
        store.finish_commitment(asked, dict(report.failed))
        log.info("storage commitment answered", peer=peer.name, committed=len(report.committed),
                 failed=len(report.failed))  # fmt: skip
    except GiveUp as error:
        store.fail_commitment(asked, error.reason)
        log.error("storage commitment cannot be answered", peer=peer.name, reason=error.reason)
    except Away as error:
        store.retry_commitment(asked, error.reason, store.clock(), counts=False)
        raise
    except TryAgain as error:
        if asked.attempts >= config.send.attempts:
            store.fail_commitment(asked, f"{error.reason} ({asked.attempts} attempts)")
            log.error("storage commitment cannot be answered", peer=peer.name, reason=error.reason)
            return
        pause = retry.backoff(asked.attempts, config.send.retry_after, config.send.longest_wait)
        store.retry_commitment(asked, error.reason, store.clock() + pause)
        log.warning("storage commitment answer waits", peer=peer.name, reason=error.reason, seconds=round(pause, 1))


def ask(config: Config, peer: Peer, store: Store, asking: Asking) -> None:
    """Send one claimed request, and settle its row; the answer may be taken here or by the listener. Raises Away."""
    try:
        commitment.ask(
            config, peer, Request(asking.transaction_uid, asking.references), WAIT_HERE,
            lambda: store.asked(asking, store.clock() + config.send.commitment_wait),
            lambda report: _take(config, store, peer.name, report),
        )  # fmt: skip
    except (GiveUp, TryAgain) as error:
        _not_asked(config, peer, store, asking, error)


def look(config: Config, peer: Peer, store: Store, asking: Asking) -> None:
    """Look by C-FIND whether the peer has the instances of one claimed delivery, and settle its row."""
    try:
        there = find.instances(config, peer, asking.study_uid, asking.series_uid)
        kept = tuple(one for one in asking.references if one.sop_uid in there)
        missing = tuple(one for one in asking.references if one.sop_uid not in there)
        if missing and asking.attempts < LOOKS:
            raise TryAgain(f"{peer.name} does not find {len(missing)} of {len(asking.references)} instances yet")
        report = Report(asking.transaction_uid, kept, tuple((one, dimse.NO_SUCH_INSTANCE) for one in missing))
        take(config, store, peer.name, report, "send", "C-FIND")
    except (GiveUp, TryAgain) as error:
        _not_asked(config, peer, store, asking, error)


def _not_asked(config: Config, peer: Peer, store: Store, asking: Asking, error: GiveUp | TryAgain) -> None:
    """Later, or never: the delivery stays delivered."""
    if isinstance(error, GiveUp):
        store.give_up_asking(asking, error.reason)
        log.warning("no word whether it is kept is to be had", peer=peer.name, reason=error.reason)
        return
    if isinstance(error, Away):
        store.retry_asking(asking, error.reason, store.clock(), counts=False)
        raise error
    if asking.attempts >= config.send.attempts:
        store.give_up_asking(asking, f"{error.reason} ({asking.attempts} attempts)")
        log.warning("could not be asked whether it is kept", peer=peer.name, reason=error.reason)
        return
    pause = retry.backoff(asking.attempts, config.send.retry_after, config.send.longest_wait)
    store.retry_asking(asking, error.reason, store.clock() + pause)
    log.warning("asking whether it is kept waits", peer=peer.name, reason=error.reason, seconds=round(pause, 1))


def _take(config: Config, store: Store, peer: str, report: Report) -> None:
    take(config, store, peer, report, "send")
