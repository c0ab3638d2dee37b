"""`[audit]`: where signed tree heads go, how long the log is kept, and who else gets it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from node.sections import Section

SHORTEST = 183  # days: six months, as long as deployers keep logs of a high-risk AI system at least (EU 2024/1689, 26)


class Audit(Section):
    """`[audit]`: the proof of the log, its retention, and its receiver."""

    heads: Path | None = None  # folder of heads.jsonl and public.pem; None: `audit` beside the spool
    key: Path | None = None  # the signing key; None: `key.pem` in the folder `audit` beside the spool
    events: int = Field(1000, ge=1)  # a head is signed after so many,
    seconds: float = Field(3600, gt=0)  # or after so long
    retention: float = 2192  # days: six years (45 CFR 164.316 (b)(2))
    syslog_host: str = ""  # who gets every event as a DICOM audit message; empty: nobody
    syslog_port: int = Field(6514, ge=1, le=65535)
    syslog_ca: Path | None = None  # PEM files: who signs the receiver's certificate, and what we show
    syslog_certificate: Path | None = None
    syslog_key: Path | None = None

    @model_validator(mode="after")
    def _lasts_and_is_whole(self) -> Audit:
        if self.retention < SHORTEST:
            raise ValueError(f"retention of {self.retention:g} days: the log is kept {SHORTEST} days at least")
        if self.syslog_host and self.syslog_ca is None:
            raise ValueError("syslog-host wants syslog-ca, which says whose certificate the receiver may show")
        if (self.syslog_certificate is None) != (self.syslog_key is None):
            raise ValueError("syslog-certificate and syslog-key go together")
        return self
