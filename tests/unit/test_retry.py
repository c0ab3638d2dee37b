from node.retry import backoff


def test_the_pause_doubles_up_to_the_longest_and_is_never_the_same_for_all() -> None:
    for attempt, ceiling in ((1, 5), (2, 10), (3, 20), (50, 900)):
        pauses = [backoff(attempt) for _ in range(200)]
        assert ceiling / 2 <= min(pauses) <= max(pauses) <= ceiling
        assert len(set(pauses)) > 100
