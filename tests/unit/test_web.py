"""The web port: who is let in, what is refused, and what the end points hand to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from node.errors import ConfigError, GiveUp, TryAgain
from node.store import Store
from node.web import door, limits, site, tokens
from node.web.limits import Rate, Refusals
from node.web.metrics import registry
from tests.web import ask

REVIEW = {"sop_uid": "2.25.17", "verdict": "rejected", "by": "dr.a", "why": "a rib"}
LABEL = {"study": "1.2.3", "by": "study", "finding": "nodule", "value": True, "date": "2026-10-05", "source": "ris"}


@dataclass(frozen=True)
class Added:
    word: str


@dataclass(frozen=True)
class Given:
    """What came of a verdict."""

    outcome: str
    reason: str


class Recording:
    """Takes what the end points hand over, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def add_labels(self, labels: Sequence[Any], actor: str) -> Sequence[Any]:
        self._record(("labels", actor, *labels))
        return [Added("added" if label.value else "same") for label in labels]

    def add_review(self, sop_uid: str, verdict: str, by: str, why: str, source: str, at: float) -> Any:
        self._record(("review", sop_uid, verdict, by, why, source, at))
        return Given("withdrawn", f"{verdict} by {by}")

    def _record(self, call: tuple[Any, ...]) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(call)


class Port:
    """The application behind its door, with one token for each right and one for none of them."""

    def __init__(self, folder: Path, requests: int = 1000, open_metrics: bool = False) -> None:
        self.store = Recording()
        self.wrong: list[str] = []
        self.file = folder / "tokens"
        self.token = {right: tokens.make(self.file, f"has-{right}", [right]) for right in tokens.RIGHTS}
        self.refusals = Refusals()
        app = site.make(self.store, registry(_Nothing()), lambda: self.wrong, lambda: 1_800_000_000.0)
        self.app = door.Door(app, tokens.Tokens(self.file), self.refusals, requests, open_metrics)

    def post(self, what: str, body: Any = None, **other: Any) -> Any:
        return ask(self.app, "POST", f"/api/{what}", **({"token": self.token[what]} | other), body=body)


class _Nothing:
    def collect(self) -> list[Any]:
        return []

    describe = collect


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return Port(tmp_path)


def test_a_review_reaches_the_store_with_who_sent_it(port: Port) -> None:
    reply = port.post("reviews", REVIEW)
    assert reply.status == 201 and reply.json["at"].startswith("2027-01-15T08:00:00")
    assert (reply.json["outcome"], reply.json["reason"]) == ("withdrawn", "rejected by dr.a"), "what came of it"
    assert port.store.calls == [("review", "2.25.17", "rejected", "dr.a", "a rib", "rest/has-reviews", 1_800_000_000.0)]
    port.post("reviews", REVIEW | {"at": "2026-10-05T12:00:00+02:00"})
    assert port.store.calls[1][-1] == 1_791_194_400.0


def test_labels_reach_the_store_as_they_were_sent(port: Port) -> None:
    other = LABEL | {"study": "A-17", "by": "accession", "value": None}
    reply = port.post("labels", {"labels": [LABEL, other]})
    assert (reply.status, reply.json) == (201, {"labels": 2, "became": {"added": 1, "same": 1}})
    [(_, actor, first, second)] = port.store.calls
    assert actor == "rest/has-labels"
    assert (first.study, first.by, first.finding, first.value, first.date, first.source) == (
        "1.2.3", "study", "nodule", True, "2026-10-05", "ris")  # fmt: skip
    assert (second.study, second.by, second.value) == ("A-17", "accession", None), "null withdraws"


@pytest.mark.parametrize(("what", "body", "says"), [
    ("reviews", REVIEW | {"verdict": "maybe"}, "verdict: Input should be 'accepted', 'rejected' or 'changed'"),
    ("reviews", REVIEW | {"sop_uid": "1.2.x"}, "sop_uid: String should match pattern"),
    ("reviews", REVIEW | {"at": "2026-10-05T12:00:00"}, "at: Input should have timezone info"),
    ("reviews", REVIEW | {"SECRET^NAME": 1}, "the body: Extra inputs are not permitted"),
    ("labels", {"labels": [LABEL | {"SECRET^NAME": 1}]}, "labels.0: Extra inputs are not permitted"),
    ("reviews", {"sop_uid": "1.2"}, "verdict: Field required"),
    ("labels", {"labels": []}, "labels: Tuple should have at least 1 item"),
    ("labels", {"labels": [LABEL, LABEL | {"value": "yes"}]}, "labels.1.value: Input should be a valid boolean"),
    ("labels", {"labels": [LABEL | {"study": "SECRET\n17"}]}, "labels.0.study: String should match pattern"),
    ("labels", {"labels": [LABEL] * 1001}, "labels: Tuple should have at most 1000 items"),
])  # fmt: skip
def test_a_body_of_the_wrong_shape_is_answered_422_in_one_line_without_what_it_holds(
    port: Port, what: str, body: Any, says: str
) -> None:
    with capture_logs() as lines:
        reply = port.post(what, body)
    assert reply.status == 422 and reply.json["error"].startswith(says), reply.body
    assert b"SECRET" not in reply.body and "\n" not in reply.json["error"] and not port.store.calls
    assert [(one["event"], one["by"]) for one in lines] == [("a request was not taken", f"rest/has-{what}")]
    assert "SECRET" not in str(lines)


def test_what_is_no_json_is_answered_422(port: Port) -> None:
    assert port.post("labels", raw=b"{").json == {"error": "the body is not JSON"}


def test_an_output_that_is_none_of_ours_is_answered_422_and_a_database_that_is_away_503(port: Port) -> None:
    port.store.error = GiveUp("2.25.17 is none of our outputs")
    reply = port.post("reviews", REVIEW)
    assert (reply.status, reply.json) == (422, {"error": "2.25.17 is none of our outputs"})
    port.store.error = TryAgain("the database does not answer")
    reply = port.post("reviews", REVIEW)
    assert reply.status == 503 and reply.headers["retry-after"] == "10"


def test_a_defect_is_answered_500_and_tells_nothing(port: Port) -> None:
    port.store.error = RuntimeError("on purpose: SECRET^NAME")
    reply = port.post("labels", {"labels": [LABEL]})
    assert reply.status == 500 and b"SECRET" not in reply.body


def test_without_a_token_or_with_a_wrong_one_nobody_is_let_in(port: Port) -> None:
    for path in door.PATHS:
        method = door.PATHS[path][0]
        for token, why in ((None, "a bearer token is wanted"), ("guess", "the token is not known")):
            reply = ask(port.app, method, path, token=token, address=f"10.0.{len(path)}.1")
            assert reply.status == 401 and reply.json["error"].startswith(why)
            assert reply.headers["www-authenticate"] == "Bearer"
    assert not port.store.calls


def test_a_token_gives_only_its_rights(port: Port) -> None:
    reply = port.post("reviews", REVIEW, token=port.token["labels"])
    assert reply.status == 403 and reply.json == {"error": "the token of has-labels does not give the right 'reviews'"}
    assert ask(port.app, "GET", "/metrics", token=port.token["labels"]).status == 403
    assert ask(port.app, "GET", "/metrics", token=port.token["metrics"]).status == 200
    assert not port.store.calls


def test_a_token_that_is_taken_out_of_the_file_ends_at_once(port: Port) -> None:
    assert port.post("reviews", REVIEW).status == 201
    kept = [line for line in port.file.read_text().splitlines() if not line.startswith("has-reviews")]
    port.file.write_text("\n".join(kept))
    assert port.post("reviews", REVIEW).status == 401


def test_a_token_file_that_went_wrong_lets_nobody_in(port: Port) -> None:
    port.file.write_text("nonsense\n")
    assert port.post("reviews", REVIEW).status == 503
    port.file.unlink()
    assert port.post("reviews", REVIEW).status == 503


def test_refusals_are_told_as_counts_without_the_token(port: Port) -> None:
    for _ in range(3):
        port.post("reviews", REVIEW, token="guess-17")
    [told] = port.refusals.take()
    assert (told.address, told.path, told.why, told.count) == ("10.0.0.9", "/api/reviews", "the token is not known", 3)
    assert port.refusals.take() == []


def test_who_guesses_is_not_listened_to_for_a_while_and_others_are(port: Port) -> None:
    statuses = [port.post("reviews", REVIEW, token=f"guess{n}").status for n in range(door.FAILURES + 2)]
    assert statuses[: door.FAILURES] == [401] * door.FAILURES and statuses[-1] == 429
    assert port.post("reviews", REVIEW).status == 429
    assert port.post("reviews", REVIEW, address="10.0.0.10").status == 201


def test_a_caller_has_so_many_requests_a_minute(tmp_path: Path) -> None:
    port = Port(tmp_path, requests=3)
    assert [port.post("reviews", REVIEW).status for _ in range(4)] == [201, 201, 201, 429]
    assert port.post("labels", {"labels": [LABEL]}).status == 201  # another token


def test_a_body_that_is_too_large_is_not_read_to_its_end(port: Port) -> None:
    long = b" " * (door.MOST_BYTES + 10)
    assert port.post("labels", raw=long, parts=9).status == 413
    assert port.post("labels", raw=b"{}", headers={"content-length": str(10**9)}).status == 413


def test_a_body_that_does_not_come_is_given_up(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(door, "BODY_TIME", 0.05)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(5)
        return {}

    assert asyncio.run(door._body(never)) == (408, "the body did not come within 0.05 s")


def test_other_paths_and_methods_are_refused(port: Port) -> None:
    assert ask(port.app, "GET", "/docs", token=port.token["metrics"]).status == 404
    assert ask(port.app, "GET", "/openapi.json").status == 404
    assert ask(port.app, "GET", "/api/labels", token=port.token["labels"]).status == 405


def test_metrics_and_health_are_open_where_they_are_told_to_be(tmp_path: Path) -> None:
    port = Port(tmp_path, open_metrics=True)
    assert ask(port.app, "GET", "/metrics").status == ask(port.app, "GET", "/healthz").status == 200
    assert port.post("reviews", REVIEW, token=None).status == 401


def test_health_says_what_is_wrong(port: Port) -> None:
    port.wrong = ["loop work does not run"]
    reply = ask(port.app, "GET", "/healthz", token=port.token["metrics"])
    assert reply.status == 503 and reply.json == {"status": "unwell", "reasons": ["loop work does not run"]}


def test_the_rate_fills_again_evenly_and_remembers_few() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert all(rate.left("a") for _ in range(60)) and not rate.left("a")
    now[0] += 1.0
    assert rate.left("a") and not rate.left("a")
    for number in range(3000):
        rate.left(str(number))
    assert len(rate._buckets) <= limits._REMEMBERED


def test_many_kinds_of_refusals_become_one_number() -> None:
    refusals = Refusals()
    for number in range(100):
        refusals.add(f"10.0.0.{number}", "/metrics", "no")
    told = refusals.take()
    assert len(told) == 31 and told[-1].address == "many" and sum(one.count for one in told) == 100
    refusals.give_back(told)
    assert sum(one.count for one in refusals.take()) == 100


def test_a_token_file_says_which_line_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(ConfigError, match=r"tokens cannot be read \(No such file.*overread web token"):
        tokens.Tokens(path)
    tokens.make(path, "ris", ["labels"])
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with pytest.raises(ConfigError, match="it has a token for 'ris'"):
        tokens.make(path, "ris", ["labels"])
    with pytest.raises(ConfigError, match="known: labels, reviews, metrics"):
        tokens.make(path, "pacs", ["all"])
    good = path.read_text()
    for bad, says in ((good + "x y z\n", "line 2: want NAME"), (good + good, "two of the name 'ris'"),
                      (good.replace(" labels", " all"), "line 1: there is no right 'all'")):  # fmt: skip
        path.write_text(bad)
        with pytest.raises(ConfigError, match=says):
            tokens.Tokens(path)


def test_the_end_points_call_what_the_store_has(sqlite: str) -> None:
    store = Store(sqlite)
    app = site.make(store, registry(_Nothing()), list, store.clock)
    inside = {"state": {"caller": tokens.Caller("ris", "", frozenset())}}

    async def called(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | inside, receive, send)

    unknown = ask(called, "POST", "/api/reviews", body=REVIEW)
    assert unknown.status == 422 and "2.25.17" in unknown.json["error"]
    assert ask(called, "POST", "/api/labels", body={"labels": [LABEL]}).status == 201
    store.dispose()
