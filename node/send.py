"""The send loop: claims a delivery, sends it, records the peer's answer for each instance; when none is due, it sees
to storage commitment. One thread per peer, so that a dead peer holds up nobody else."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from node import confirm, faults, logs, peers, release, retry
from node.config import Config
from node.errors import Away, GiveUp, IllegalMove, TryAgain
from node.health import Health
from node.peers.statuses import out_of_resources
from node.queries import Queries
from node.sections import Peer
from node.spool import Spool
from node.store import Answer, Delivery, Store

log = logs.get(__name__)
POLL = 0.1  # seconds between two looks
LOOK_AGAIN = 1.0  # seconds between two looks whether the study has changed, while an output of many instances is sent
_AFTER_A_DEFECT = 60.0  # seconds that a delivery waits whose sending broke: others go first


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
    sender = Sender(config, peer, store, spool, stop)
    after: float | None = 0.0  # seconds after which what we held is due again; None: we hold nothing
    while not stop.is_set():
        try:
            if after is not None:
                store.release_deliveries(worker, "the sender stopped in the middle", after)
                confirm.release(store, worker)
                after = None
            if sender.health.left() > 0:
                stop.wait(min(POLL, sender.health.left()))
            elif not sender.step(worker):
                stop.wait(POLL)
        except (TryAgain, IllegalMove) as error:
            log.warning("send waits", peer=peer.name, reason=str(error))
            after = 0.0
            stop.wait(2)
        except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not stop deliveries
            log.error("send failed", peer=peer.name, error=type(error).__name__, where=logs.where(error))
            after = _AFTER_A_DEFECT
            stop.wait(5)


class Sender:
    """What sends to one peer."""

    def __init__(self, config: Config, peer: Peer, store: Store, spool: Spool, stop: threading.Event) -> None:
        self.health = Health(config.send)
        self._config = config
        self._peer = peer
        self._store = store
        self._queries = Queries(store.engine)
        self._spool = spool
        self._stop = stop

    def step(self, worker: str) -> bool:
        """Do the next thing that is due; False when there was none. Raises TryAgain without a database."""
        broken = self.health.broken
        delivery = self._store.claim_delivery(worker, self._peer.name, self._config.send.lease, broken)
        if delivery is not None:
            self.deliver(delivery)
            return True
        try:
            if not confirm.step(self._config, self._peer, self._store, self._spool, worker):
                return False
        except Away as error:
            self._away(error.reason, unreachable=True)
        else:
            if self.health.unreachable:
                self._well()
        return True

    def deliver(self, delivery: Delivery) -> None:
        """Send one claimed delivery and settle its row. When the node is stopping, or the study changes, the rest of
        its objects waits. What the study contradicts, or a person, is withdrawn instead, and held what must not go by
        the mode of its route."""
        faults.point("send.claimed")
        if delivery.attempts > self._config.send.attempts:
            self._fail(delivery, [], f"given up: the sender stopped in the middle of {delivery.attempts - 1} attempts")
            return
        try:
            why, seen = release.why_not(self._queries, self._spool, delivery)
            back = release.held_back(self._queries, self._config, delivery)
        except GiveUp as error:
            self._fail(delivery, [], error.reason)
            return
        except TryAgain as error:
            self._settle(self._store.retry_delivery, delivery, [], error.reason, None, delivery.attempts - 1)
            return
        if why is None and back is not None and back[0] == "held":
            self._settle(self._store.hold_delivery, delivery, back[1])
            self._say(log.warning, "delivery held", delivery, reason=back[1])
            return
        why = why if why is not None or back is None else back[1]
        if why is not None:
            self._settle(self._store.withdraw_delivery, delivery, why)
            self._say(log.warning, "delivery withdrawn", delivery, reason=why)
            return
        said: list[Answer] = []
        final: dict[str, str] = {}  # SOP Instance UID -> why the peer will never take it
        broke: TryAgain | None = None
        halted: str | None = None
        looked = time.monotonic()
        uids = {self._spool.path(one.path): one.sop_uid for one in delivery.files}
        try:
            with contextlib.closing(peers.store(self._config, self._peer, list(uids))) as answers:
                for answer in answers:
                    faults.point("send.answered")
                    said.append(Answer(uids[answer.path], answer.stored, answer.status, answer.reason))
                    if answer.final and not answer.stored:
                        final[said[-1].sop_uid] = answer.reason
                    if len(said) < len(uids):
                        if time.monotonic() - looked >= LOOK_AGAIN:
                            looked, halted = time.monotonic(), self._changed(delivery, seen.revision)
                        halted = "the node is stopping" if self._stop.is_set() else halted
                    if halted is not None:
                        break
        except TryAgain as error:
            broke = error
        left = set(uids.values()) - {one.sop_uid for one in said if one.stored}
        if isinstance(broke, Away):
            self._settle(self._store.retry_delivery, delivery, said, broke.reason, None, delivery.attempts - 1)
            self._away(broke.reason, unreachable=True)
        elif not left:
            faults.point("send.stored")
            self._settle(self._store.finish_delivery, delivery, said, self._peer.commitment != "none")
            faults.point("send.finished")
            self._say(log.info, "delivered", delivery, instances=len(said))
            self._well()
        elif broke is None and halted is not None:
            self._settle(self._store.retry_delivery, delivery, said, halted, None, delivery.attempts - 1)
            self._say(log.info, "the rest of a delivery waits", delivery, reason=halted, sent=len(said))
        elif left <= set(final):
            self._fail(delivery, said, f"{self._peer.name} refused {_some(len(left))}: {next(iter(final.values()))}")
            self._well()
        else:
            self._again(delivery, said, broke, left)

    def _changed(self, delivery: Delivery, revision: int) -> str | None:
        """Why the rest is not to be sent now; None when the study still is as it was at the first look, and nobody has
        decided otherwise."""
        try:
            changed = self._queries.standing(delivery.job_id).revision != revision
            back = release.held_back(self._queries, self._config, delivery)
        except TryAgain as error:
            return f"whether the study has changed cannot be looked up: {error.reason}"
        if back is not None:
            return back[1]
        return "the study changed while its result was sent" if changed else None

    def _again(self, delivery: Delivery, said: list[Answer], broke: TryAgain | None, left: set[str]) -> None:
        """Part of it is not stored, and may be another time."""
        reason = broke.reason if broke is not None else (
            f"{self._peer.name} has not stored {len(left)} of {len(delivery.files)} instances"
            + "".join(f": {one.reason}" for one in said[-1:] if one.reason)
        )  # fmt: skip
        settings = self._config.send
        if any(one.stored for one in said):
            self._well()
        elif self.health.broke(delivery.id):
            # Not the fault of this one: it loses no attempt by it, and goes behind all others that wait.
            pause = retry.backoff(delivery.attempts, settings.retry_after, settings.longest_wait)
            self._wait(delivery, said, reason, pause, delivery.attempts - 1)
            self._away(reason, unreachable=False)
            return
        full = broke is None and all(out_of_resources(one.status) for one in said if not one.stored)
        if delivery.attempts >= settings.attempts and not full:
            self._fail(delivery, said, f"{reason} ({delivery.attempts} attempts)")
            return
        pause = retry.backoff(delivery.attempts, settings.retry_after, settings.longest_wait)
        if broke is not None and broke.after is not None:
            pause = broke.after
        # A peer may be full for days: that uses up half of the attempts at most.
        self._wait(delivery, said, reason, pause, min(delivery.attempts, settings.attempts // 2) if full else None)

    def _wait(self, delivery: Delivery, said: list[Answer], reason: str, pause: float, attempts: int | None) -> None:
        self._settle(self._store.retry_delivery, delivery, said, reason, self._store.clock() + pause, attempts)
        self._say(log.warning, "delivery waits", delivery, reason=reason, seconds=round(pause, 1))

    def _fail(self, delivery: Delivery, said: list[Answer], reason: str) -> None:
        self._settle(self._store.fail_delivery, delivery, said, reason)
        self._say(log.error, "delivery failed", delivery, reason=reason, id=delivery.id)

    def _settle(self, write: Callable[..., object], *arguments: Any) -> None:
        """What the peer has said must not be lost, and asked for again, because the database is away for the moment."""
        retry.until_taken(
            functools.partial(write, *arguments), self._stop,
            lambda away: log.warning("what a peer answered waits for the database", peer=self._peer.name,
                                     reason=away.reason),
        )  # fmt: skip

    def _say(self, say: Callable[..., None], what: str, delivery: Delivery, **facts: Any) -> None:
        say(what, peer=self._peer.name, study=delivery.study_uid, output=delivery.output, **facts)

    def _away(self, reason: str, unreachable: bool) -> None:
        if self.health.away(unreachable):
            log.error("a peer is away; what is for it waits", peer=self._peer.name, reason=reason)
            self._note("peer.away", {"reason": reason})
        else:
            log.warning("a peer is still away", peer=self._peer.name, reason=reason)

    def _well(self) -> None:
        away_for = self.health.well()
        if away_for is not None:
            log.info("a peer is back", peer=self._peer.name, seconds=round(away_for))
            self._note("peer.back", {"seconds": round(away_for, 1)})
            self._settle(self._store.hasten_deliveries, self._peer.name)

    def _note(self, type_: str, body: Mapping[str, Any]) -> None:
        try:
            self._store.note(type_, "send", f"peer/{self._peer.name}", body)
        except TryAgain as error:
            log.warning("not in the audit log", type=type_, reason=error.reason)


def _some(count: int) -> str:
    return "an instance" if count == 1 else f"{count} instances"
