"""The campaign notices what it is there to notice: a crash, a hang, a leak, a broken promise."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.fuzz import host
from tests.fuzz.target import Input, Violation, Word


class Bad:
    """A target that fails as its input says."""

    name, says, share, growth, peak = "bad", "a target for this test", 1.0, 20.0, 100.0
    patience = 1.0
    wrong = "nothing"

    def open(self, folder: Path) -> None:
        self._kept: list[bytes] = []

    def make(self, rng: random.Random) -> Input:
        return Input((rng.randbytes(8),))

    def give(self, one: Input) -> Word:
        self._kept.append(b"")
        if len(self._kept) == 3:
            self.go_wrong()
        return "refused"

    def go_wrong(self) -> None:
        """Nothing, here."""

    def memory(self) -> float:
        return host.resident()

    def close(self) -> None:
        """All is well."""


class Raises(Bad):
    def go_wrong(self) -> None:
        raise KeyError("unexpected")


class Lies(Bad):
    def go_wrong(self) -> None:
        raise Violation("a promise is broken")


class Dies(Bad):
    def go_wrong(self) -> None:
        os.abort()


class Hangs(Bad):
    def go_wrong(self) -> None:
        time.sleep(60)


class Swells(Bad):
    def go_wrong(self) -> None:
        assert bytes(range(256)) * (600 << 10)


class Leaks(Bad):
    def give(self, one: Input) -> Word:
        self._kept.append(bytes(range(256)) * 400)
        return "refused"


class LosesAtTheEnd(Bad):
    def close(self) -> None:
        raise Violation("something was lost")


@pytest.mark.parametrize(
    ("target", "index", "what"),
    [(Raises, 2, "KeyError: 'unexpected' at "), (Lies, 2, "a promise is broken"), (Dies, 2, "the process ended by SIGABRT"),
     (Hangs, 2, "no end after"), (Swells, 2, "MB for a moment, at most 100"), (LosesAtTheEnd, 5, "something was lost")],
)  # fmt: skip
def test_the_campaign_notices(target: type[Bad], index: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "HANG", 2.0 if target is Hangs else host.HANG)
    tally = host.campaign(target, "bad", "seed", 0, 6, 1000, patience=1 if target is Hangs else 20)
    found = tally.failures[0]
    assert found.index == index and what in found.what, tally.failures
    assert tally.inputs == 6, "what comes after it is tried all the same"


def test_the_campaign_notices_memory_that_is_not_given_back() -> None:
    (failure,) = host.campaign(Leaks, "bad", "seed", 0, 1000, 20, patience=20).failures
    assert "memory grew by" in failure.what
