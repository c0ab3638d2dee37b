"""A small campaign of every target with fixed random numbers, and proof that the campaign would notice."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.fuzz import conversations, host
from tests.fuzz.target import Input, Violation, Word
from tests.fuzz.targets import TARGETS

INPUTS = {"wire": 100, "talk": 700, "identity": 1500, "commitment": 400, "files": 120}


def test_every_target_has_its_share() -> None:
    assert set(INPUTS) == set(TARGETS)
    assert sum(make().share for make in TARGETS.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_breaks_no_promise(name: str) -> None:
    make = TARGETS[name]
    tally = host.campaign(make, name, "subset", 0, INPUTS[name], make().growth, patience=20)
    assert not tally.failures, [f"input {one.index}: {one.what}" for one in tally.failures]
    assert tally.inputs == INPUTS[name] == tally.taken + tally.refused
    assert tally.refused > INPUTS[name] / 20, "the inputs do hit something"
    assert tally.taken > INPUTS[name] / 20, "and are not only noise"


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_number_gives_the_same_input(name: str) -> None:
    def made(seed: str) -> list[Input]:
        return [host.input_of(TARGETS[name](), seed, index) for index in range(5)]

    assert made("a") == made("a")
    assert [one.parts for one in made("a")] != [one.parts for one in made("b")]


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
    def go_wrong(self) -> None:
        self._kept.append(bytes(range(256)) * (200 << 10))


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
    (failure,) = host.campaign(Leaks, "bad", "seed", 0, 60, 20, patience=20).failures
    assert "memory grew by" in failure.what


def test_a_conversation_says_which_bytes_a_success_would_promise() -> None:
    said = [conversations.conversation(random.Random(number)) for number in range(200)]
    assert any(one.about["stored"] for one in said)
    assert len({one.parts for one in said}) > 190
