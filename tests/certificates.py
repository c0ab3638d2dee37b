"""Certificates for tests: a CA that everybody trusts, one that nobody does, and what they signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.certificates import Authority

BITS = 2048  # made in a moment


@dataclass(frozen=True)
class Signed:
    """What the tests' CAs signed; each name is that of its file, too."""

    folder: Path
    other_folder: Path

    def of(self, name: str, trusts: str = "ca") -> dict[str, Any]:
        """The keys `certificate`, `key` and `ca` of a configuration for `name` (node, sender, expired, stranger)."""
        folder = self.other_folder if name == "stranger" else self.folder
        ca = self.folder / "ca.pem" if trusts == "ca" else self.other_folder / "ca.pem"
        return {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key", "ca": ca}


def sign(folder: Path) -> Signed:
    """Make all of them under `folder`."""
    ours, others = Authority(folder / "ours", BITS), Authority(folder / "others", BITS)
    ours.issue("node", "overread", ["localhost", "127.0.0.1"])
    ours.issue("sender", "ct-1")
    ours.issue("expired", "ct-1", days=-1)
    ours.issue("elsewhere", "pacs.example")
    others.issue("stranger", "ct-1")
    return Signed(folder / "ours", folder / "others")
