"""The send loop: claims a delivery, sends it, records the peer's answer for each instance; when none is due, it sees
to storage commitment. One thread per peer, so that a dead peer holds up nobody else."""

from __future__ import annotations

import contextlib
import threading

from node import confirm, logs, peers, retry
from node.config import Config
from node.errors import GiveUp, IllegalMove, TryAgain
from node.sections import Peer
from node.spool import Spool
from node.store import Answer, Delivery, Store

log = logs.get(__name__)
POLL = 0.1  # seconds between two looks


def serve(config: Config, store: Store, spool: Spool, stop: threading.Event, worker: str) -> None:
    """Deliver results to every peer that a route names and answer those that may ask, until `stop` is set."""
    destinations = {name for route in config.routes for name in route.send_to}
    wanted = sorted(destinations | {peer.name for peer in config.peers if confirm.concerns(peer)})
    threads = [
        threading.Thread(target=_serve_peer, args=(config, config.peer(name), store, spool, stop, f"{worker}/{name}"))
        for name in wanted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _serve_peer(config: Config, peer: Peer, store: Store, spool: Spool, stop: threading.Event, worker: str) -> None:
    released = False
    while not stop.is_set():
        try:
            if not released:
                store.release_deliveries(worker, "the sender stopped in the middle")
                confirm.release(store, worker)
                released = True
            delivery = store.claim_delivery(worker, peer.name, config.send.lease)
            if delivery is not None:
                deliver(config, peer, store, spool, delivery, stop)
            elif not confirm.step(config, peer, store, spool, worker):
                stop.wait(POLL)
        except (TryAgain, IllegalMove) as error:
            log.warning("send waits", peer=peer.name, reason=str(error))
            stop.wait(2)
        except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not stop deliveries
            log.error("send failed", peer=peer.name, error=type(error).__name__, where=logs.where(error))
            released = False  # the claimed row goes back to due
            stop.wait(5)


def deliver(
    config: Config, peer: Peer, store: Store, spool: Spool, delivery: Delivery, stop: threading.Event | None = None
) -> None:
    """Send one claimed delivery and settle its row. When `stop` is set, the rest of its objects waits."""
    said: list[Answer] = []
    refused: str | None = None
    try:
        with contextlib.closing(peers.store(config, peer, [spool.path(one.path) for one in delivery.files])) as answers:
            for answer in answers:
                said.append(Answer(answer.sop_uid, answer.stored, answer.status, answer.reason))
                if answer.final and not answer.stored:
                    refused = refused or f"{peer.name} refused an instance: {answer.reason}"
                if stop is not None and stop.is_set():
                    break
        open_ones = {one.sop_uid for one in delivery.files} - {one.sop_uid for one in said if one.stored}
        if not open_ones:
            store.finish_delivery(delivery, said, ask=peer.commitment == "ask")
            log.info("delivered", peer=peer.name, study=delivery.study_uid, output=delivery.output, instances=len(said))
            return
        if refused is not None:
            raise GiveUp(refused)
        if stop is not None and stop.is_set() and len(said) < len(delivery.files):
            store.retry_delivery(delivery, said, "the node is stopping", store.clock(), counts=False)
            log.info("delivery waits for the next start", peer=peer.name, study=delivery.study_uid, sent=len(said))
            return
        raise TryAgain(f"{peer.name} has not stored {len(open_ones)} of {len(delivery.files)} instances"
                       + (f": {said[-1].reason}" if said else ""))  # fmt: skip
    except GiveUp as error:
        store.fail_delivery(delivery, said, error.reason)
        log.error("delivery failed", peer=peer.name, study=delivery.study_uid, output=delivery.output,
                  reason=error.reason, delivery=delivery.id)  # fmt: skip
    except TryAgain as error:
        if delivery.attempts >= config.send.attempts:
            reason = f"{error.reason} ({delivery.attempts} attempts)"
            store.fail_delivery(delivery, said, reason)
            log.error("delivery failed", peer=peer.name, study=delivery.study_uid, reason=reason, delivery=delivery.id)
            return
        pause = error.after
        if pause is None:
            pause = retry.backoff(delivery.attempts, config.send.retry_after, config.send.longest_wait)
        store.retry_delivery(delivery, said, error.reason, store.clock() + pause)
        log.warning("delivery waits", peer=peer.name, study=delivery.study_uid, output=delivery.output,
                    reason=error.reason, seconds=round(pause, 1))  # fmt: skip
