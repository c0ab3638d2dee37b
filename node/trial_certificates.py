"""`overread certs`: a private CA, a certificate for the node and one for each peer, and what to do with them."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.certificates import Authority, Made, hosts_of
from node.config import Config
from node.errors import ConfigError

PORT = 2762  # registered with IANA for DICOM over TLS ("dicom-tls")


@dataclass(frozen=True)
class Certificates:
    """What was made or was there: the CA, the node's, and each peer's by its name."""

    ca: Made
    node: Made
    peers: dict[str, Made]

    @property
    def all(self) -> list[Made]:
        """All of them, the CA first."""
        return [self.ca, self.node, *self.peers.values()]


def make(folder: Path, config: Config | None, names: Sequence[str] = ()) -> Certificates:
    """Make what is missing in `folder`. `names`: for whom; none: for each [[peer]] of the configuration.

    A peer's certificate is for its name and, where the configuration knows it, its host; the node's is for this
    machine's names and the address it listens on. Raises ConfigError; nothing that exists is overwritten.
    """
    for name in names:
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,63}", name):
            raise ConfigError(repr(name), "is no name of a [[peer]]: small letters, digits, '-'")
    authority = Authority(folder)
    listens_on = [] if config is None else [config.node.host]
    here = dict.fromkeys([socket.gethostname(), *hosts_of(listens_on), "localhost", "127.0.0.1"])
    node = authority.issue("node", "overread", list(here))
    known = {} if config is None else {peer.name: peer.host for peer in config.peers}
    peers = {}
    for name in names or known:
        hosts = list(hosts_of([known[name]])) if name in known else []
        peers[name] = authority.issue(f"peer-{name}", name, hosts)
    return Certificates(authority.made, node, peers)


def next_steps(made: Certificates) -> str:
    """The lines of configuration that use the files, and what a person does with the others."""
    lines = [
        "next, in the configuration:", "",
        "[node]", f"tls-port = {PORT}", "plain = true                # false, once every peer speaks TLS",
        f'certificate = "{made.node.certificate.resolve()}"', f'key = "{made.node.key.resolve()}"',
        f'ca = "{made.ca.certificate.resolve()}"',
    ]  # fmt: skip
    for name in made.peers:
        lines += ["", f'[[peer]]                    # that of name = "{name}": add to it',
                  "tls = true                  # we call it over TLS: its port must be its TLS port",
                  f'certificate-names = ["{name}"]']  # fmt: skip
    for name, one in made.peers.items():
        files = f"{one.certificate}, {one.key} and {made.ca.certificate}"
        lines += ["", f"give {name}, by a way that nobody else reads: {files}"]
    lines += ["", f"then keep {made.ca.key} away from this machine: who has it can make a certificate for anybody"]
    return "\n".join(lines)
