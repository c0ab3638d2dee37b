"""What a campaign is made of: a target takes one input after another, and says what became of each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

MARKER = "ZZFUZZNAME"
"""Part of every PatientName that is sent: it must not be found in a log or in a reason."""

Word = Literal["taken", "refused"]


class Violation(Exception):
    """A promise was broken; the text says which."""


@dataclass(frozen=True)
class Input:
    """One input: the parts that are sent or stand in files one after another; `about` is what the target knows of it."""

    parts: tuple[bytes, ...]
    about: dict[str, object] = field(default_factory=dict)


class Target(Protocol):
    """One place where strangers' bytes are read. It lives in a process of its own, which it may take down with it."""

    name: str
    says: str  # what is tried, in a few words
    share: float  # of all inputs of a campaign
    growth: float  # MB that the memory of the process under test may grow over the run
    peak: float  # MB that one input may take for a moment
    patience: float  # set before `open`: how many times as long as on an idle machine it may wait for others

    def open(self, folder: Path) -> None:
        """Get ready in an empty folder."""

    def make(self, rng: random.Random) -> Input:
        """The input of these random numbers; the same for the same ones, whatever was tried before."""

    def give(self, one: Input) -> Word:
        """Give it to the code under test. Raises Violation; whatever else comes out is a violation too."""

    def memory(self) -> float:
        """MB of the process under test, now."""

    def close(self) -> None:
        """Look at what is left when all is over. Raises Violation."""
