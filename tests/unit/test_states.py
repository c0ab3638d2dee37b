import pytest

from node import states
from node.errors import IllegalMove


@pytest.mark.parametrize("noun", states.TABLES)
def test_every_state_that_a_move_leads_to_has_its_own_row(noun: str) -> None:
    table = states.TABLES[noun]
    assert {after for targets in table.values() for after in targets} <= set(table)


def test_a_legal_move_returns_the_new_state() -> None:
    assert states.move("job", "due", "running") == "running"


@pytest.mark.parametrize(
    ("noun", "before", "after"),
    [("job", "done", "due"), ("job", "due", "done"), ("delivery", "due", "delivered"), ("study", "purged", "ready"),
     ("study", "receiving", "receiving"), ("delivery", "committed", "due"), ("job", "no such state", "due")],
)  # fmt: skip
def test_an_illegal_move_is_refused(noun: str, before: str, after: str) -> None:
    with pytest.raises(IllegalMove, match="not a legal move"):
        states.move(noun, before, after)
