"""Release modes: which one is in force, for a route and for a peer that several routes send to."""

from __future__ import annotations

import pytest

from node import modes
from node.modes import MODES, Mode


@pytest.mark.parametrize("configured", MODES)
@pytest.mark.parametrize("stored", MODES)
def test_the_stricter_of_file_and_stored_mode_is_in_force(configured: Mode, stored: Mode) -> None:
    force = modes.in_force({"chest": configured}, {"chest": stored, "another": "off"})
    assert force == {"chest": MODES[min(MODES.index(configured), MODES.index(stored))]}


@pytest.mark.parametrize(
    ("configured", "mode"),
    [({"a": "live"}, "live"), ({"a": "live", "b": "review"}, "review"), ({"a": "shadow", "b": "live"}, "shadow"),
     ({"a": "off", "b": "live"}, "live"), ({"a": "off", "b": "off"}, "off"), ({"a": "off", "b": "review"}, "review")],
)  # fmt: skip
def test_the_strictest_route_that_is_not_off_decides_for_a_peer(configured: dict[str, Mode], mode: Mode) -> None:
    assert modes.for_peer(configured, {}) == mode


def test_what_was_set_for_one_route_counts_for_all_that_send_the_same_there() -> None:
    assert modes.for_peer({"a": "live", "b": "live"}, {"b": "review"}) == "review"
