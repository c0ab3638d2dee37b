"""The section of the configuration about the web port. As in node.sections; docs/configuration.md says what each key
means."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

from pydantic import Field, model_validator

from node.sections import Section


class Web(Section):
    """`[web]`: the port for metrics, health and the REST end points."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # 0: off
    tls: bool = False  # with the certificate and key of [node]
    plain: bool = False  # without TLS beyond this machine, too: something in front of it does TLS
    token_file: Path | None = None  # who may do what; `overread web token` writes it
    open_metrics: bool = False  # whether /metrics and /healthz answer anybody; on a loopback address they do
    requests_per_minute: int = Field(600, ge=1)  # of one token or address; more get 429

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    @model_validator(mode="after")
    def _is_not_open_by_mistake(self) -> Web:
        if self.port and not (self.is_local or self.tls or self.plain):
            raise ValueError(
                f"host {self.host} is reached from other machines: set tls = true, or plain = true if a proxy does TLS"
            )
        return self
