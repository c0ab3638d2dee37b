"""What keeps the audit log provable: signs its tree heads, writes them to a file that may lie elsewhere, and removes
what is over its retention. A step of the keep loop."""

from __future__ import annotations

from node import audit, faults, logs
from node.config import Config
from node.proof import heads, restored, standing
from node.retention import DAY, HOUR
from node.store import Store

log = logs.get(__name__)


class Witness:
    """Signs heads of one log; remembers what it told, so that an alarm is one event."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._signer: heads.Signer | None = None
        self._told: str | None = None
        self._purge_at = 0.0

    def look(self) -> None:
        """Sign a head when one is due, bring the file up to the database, purge. Raises TryAgain, ConfigError."""
        settings = self._config.audit
        if self._signer is None:
            self._signer = heads.open_signer(self._config.signing_key, self._config.heads_folder)
        try:
            signed = self._store.sign_head(self._signer.sign, settings.events, settings.seconds)
            if signed is not None:
                log.info("tree head signed", events=signed.size, root=signed.root[:16])
            self._export()
            self._purge()
        except audit.Broken as broken:
            self._alarm(broken.reason)
        except OSError as error:
            self._alarm(f"tree heads cannot be written to {self._config.heads_folder} ({error.strerror})")
        else:
            self._told = None

    def _export(self) -> None:
        """Append the heads that the file lacks. Raises OSError; audit.Broken where the two do not agree."""
        with self._store.engine.connect().execution_options(reading=True) as connection:
            stored, said = standing.heads(connection), restored.told(connection)
        path = self._config.heads_folder / heads.FILE
        there, wrong = heads.read_heads(path) if path.exists() else ([], None)
        if wrong is not None:
            raise audit.Broken(0, wrong)
        there = restored.left(there, stored, said)
        size = there[-1].size if there else 0
        known = {head.size: head for head in stored}
        for head in there:
            if known.get(head.size) != head:
                reason = (
                    f"a head of {head.size} events was signed at {head.at} that the database does not have: the log "
                    f"was cut or rewritten, or this is an older copy of the database, which `overread audit restored` "
                    f"puts on record ({path})"
                )
                raise audit.Broken(0, reason)
        faults.point("keep.head-signed")
        heads.append_heads(path, [head for head in stored if head.size > size])

    def _purge(self) -> None:
        now = self._store.clock()
        if now < self._purge_at:
            return
        self._purge_at = now + HOUR
        while gone := self._store.purge_log(now - self._config.audit.retention * DAY):
            log.info("events over their retention are purged", events=gone)

    def _alarm(self, reason: str) -> None:
        if reason != self._told:
            log.error("the audit log cannot be shown to be whole: `overread audit verify` says more", reason=reason)
            self._store.note("audit.broken", "keep", "audit", {"reason": reason})
        self._told = reason
