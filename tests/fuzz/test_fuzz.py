"""A small campaign of every target with fixed random numbers."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import conversations, host
from tests.fuzz.target import Input
from tests.fuzz.targets import TARGETS

INPUTS = {"wire": 80, "talk": 500, "identity": 1200, "commitment": 400, "files": 100}


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


def test_a_conversation_says_which_bytes_a_success_would_promise() -> None:
    said = [conversations.conversation(random.Random(number)) for number in range(200)]
    assert any(one.about["stored"] for one in said)
    assert len({one.parts for one in said}) > 190
