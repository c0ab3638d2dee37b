"""The story of a study and the list of models, from events alone; and the page that shows it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from node.persons import Person
from node.queries import Queries
from node.store import Answer, JobResult, NewJob, NewOutput, OutputFile, Store
from node.telling import models, page, story
from tests.commands import Done, overread
from tests.conftest import Arrivals

REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
MODEL = {"name": "ct-lung", "version": "1.0.0", "digest": "ab" * 32, "pipeline_version": "1"}


def live(store: Store, queries: Queries, arrivals: Arrivals, name: str = "Muster^Anna") -> None:
    """A study whose first revision was skipped, whose second made a report that one peer took and one refused."""
    arrivals.add(1, 2)
    _close(store, queries, name, {"chest": "matches; review: it waits", "skull": "no series matches; the nearest: Modality is 'CT', wanted MR"})
    store.skip_job(_job(store), "no series has 3 slices <or more>")
    arrivals.add(3)
    _close(store, queries, name, {"chest": "matches"})
    store.end_association(arrivals.association, "released")
    made = NewOutput("report", "1.2.3.8", REPORT, (OutputFile("1.2.3.9", "r/1", "cd" * 32, 500),))
    store.finish_job(_job(store), [made], JobResult("1.2.3.1", "ef" * 32, MODEL, {"predict": 1.5}, {"volume ml": 4500.25}))
    for peer, stored in (("archive", False), ("pacs", True)):
        delivery = store.claim_delivery("send", peer, 30)
        assert delivery is not None
        said = [Answer("1.2.3.9", stored, 0 if stored else 0xA900, "" if stored else "refused")]
        if stored:
            store.finish_delivery(delivery, said)
        else:
            store.fail_delivery(delivery, said, "the peer refused an object")
    store.note("study.purged", "keep", "study/1.2.3", {"reason": "30 days old", "instances": 3})


def _close(store: Store, queries: Queries, name: str, routes: dict[str, str]) -> None:
    study = queries.open_studies()[0]
    jobs = [NewJob("ct-lung", ("chest",), ("pacs", "archive"), 0)]
    told = {"instances": 3, "series": 1, "routes": routes}
    assert store.close_study(study.id, study.last_received_at, "quiet for 5 s", jobs, told, [Person("P1", "", name, "A-17")])


def _job(store: Store):  # type: ignore[no-untyped-def]
    job = store.claim_job("w", 30)
    assert job is not None
    return job


def _told(queries: Queries) -> story.Story:
    return story.tell("1.2.3", queries.events("study/1.2.3"), queries.association)


def test_the_story_says_who_sent_it_why_it_ran_what_came_out_and_what_was_answered(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    live(store, queries, arrivals)
    told = _told(queries)
    [came] = told["received"]
    assert (came["calling_ae"], came["address"], came["counts"], came["how"]) == ("MODALITY", "127.0.0.1", {"received": 3}, "released")
    first, second = told["revisions"]
    assert first["reason"] == "quiet for 5 s" and first["routes"]["skull"].startswith("no series matches")
    assert second["opened_again_because"] == "an instance came after closing"
    skipped, done = told["jobs"]
    assert (skipped["outcome"], skipped["reason"]) == ("skipped", "no series has 3 slices <or more>")
    assert done["outcome"] == "done" and done["model"] == MODEL and done["findings"] == {"volume ml": 4500.25}
    assert done["outputs"]["report"]["digests"] == ["cd" * 32]
    archive, pacs = told["deliveries"]
    assert (archive["peer"], archive["state"], archive["answers"]) == ("archive", "failed", {"0xA900": 1})
    assert (pacs["peer"], pacs["state"], pacs["answers"], pacs["attempts"]) == ("pacs", "delivered", {"0x0000": 1}, 1)
    assert [one["type"] for one in told["afterwards"]] == ["study.purged"]
    assert told["patients"] == [store.patient_digest("P1")]
    assert told["timeline"][0]["says"] == "2 instances from modality, stored and acknowledged"
    assert "Muster" not in json.dumps(told) and "A-17" not in json.dumps(told)


def test_an_event_of_a_type_without_a_sentence_is_told_by_its_meaning(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    arrivals.add(1)
    store.note("spool.missing", "keep", "study/1.2.3", {"files": 2})
    [one] = _told(queries)["afterwards"]
    assert one["says"] == "alarm: files of which a row speaks are not there (files 2)"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.refers += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "action")] + [tag] * (tag == "script")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_shows_what_it_is_given_as_text(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    live(store, queries, arrivals)
    told = _told(queries)
    told["jobs"][1] |= {"acquisition": {"device.Modality": "CT", "acquisition.KVP": None}, "record": {"random": []}}
    text = page.render(told)
    assert "<span class=dim>Modality</span> CT" in text and "random</span> none" in text and "None" not in text
    parsed = _Page()
    parsed.feed(text)
    assert parsed.refers == [] and parsed.open == [] and "url(" not in text
    for words in ("matches</span>; review: it waits", "no</span> no series matches", "MODALITY at 127.0.0.1", "0xA900", "no series has 3 slices &lt;or more&gt;", "ab" * 32, "quiet for 5 s", "4500"):
        assert words in text, words


def test_the_inventory_counts_each_model_version_by_outcome(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    live(store, queries, arrivals)
    shelf = {name: MODEL[name] for name in ("name", "version", "digest")}
    store.note("model.installed", "node", "models", shelf)
    store.note("model.installed", "node", "models", shelf | {"version": "2.0.0"})
    store.note("model.retired", "node", "models", shelf)
    unknown, ran, idle = models.ran(queries.log(types=models.TYPES))
    assert (unknown["name"], unknown["jobs"]) == (None, {"skipped": 1})
    assert (ran["version"], ran["jobs"], ran["first"] == ran["last"]) == ("1.0.0", {"done": 1}, True) and ran["retired"]
    assert (idle["version"], idle["jobs"], idle["first"], idle["retired"]) == ("2.0.0", {}, None, None)


def test_jobs_without_a_result_count_under_the_model_that_their_pipeline_ran_as_long_as_it_is_the_same(
    store: Store, queries: Queries
) -> None:
    def job(word: str, pipeline: str = "ct-lung", **model: str) -> None:
        body = {"pipeline": pipeline, "model": MODEL | model} if word == "done" else {"pipeline": pipeline}
        store.note(f"job.{word}", "work", "study/1.2.3", body)

    job("failed")
    job("done")
    job("skipped")
    job("failed")
    job("skipped", "ct-lung@2.0.0")
    store.note("model.promoted", "user/a", "pipeline/ct-lung", {"version": "2.0.0"})
    job("skipped")  # by which version the log does not say yet
    job("done", version="2.0.0")
    job("failed")
    found = {(one["pipeline"], one["version"]): one["jobs"] for one in models.ran(queries.log(types=models.TYPES))}
    assert found == {
        ("ct-lung", None): {"failed": 1, "skipped": 1},
        ("ct-lung", "1.0.0"): {"done": 1, "skipped": 1, "failed": 1},
        ("ct-lung@2.0.0", "2.0.0"): {"skipped": 1},
        ("ct-lung", "2.0.0"): {"done": 1, "failed": 1},
    }


def test_a_delivery_that_was_held_and_released_is_one_delivery(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1, 2)
    _close(store, queries, "Muster^Anna", {"chest": "matches"})
    store.set_mode("chest", "review", "Dr A", "a trial")
    made = NewOutput("report", "1.2.3.8", REPORT, (OutputFile("1.2.3.9", "r/1", "cd" * 32, 500),))
    store.finish_job(_job(store), [made], JobResult("1.2.3.1", "ef" * 32, MODEL, {}, {}), wants=lambda peer: {"chest": "live"})
    before = _told(queries)["deliveries"]
    assert {(one["peer"], one["state"], one["attempts"]) for one in before} == {("pacs", "held", 0), ("archive", "held", 0)}
    assert all(one["reason"] for one in before)
    store.add_review("1.2.3.9", "accepted", "Dr A", "it is right", "cli", 5.0)
    delivery = store.claim_delivery("send", "pacs", 30)
    assert delivery is not None
    store.finish_delivery(delivery, [Answer("1.2.3.9", True, 0, "")])
    told = _told(queries)
    sent = {one["peer"]: one for one in told["deliveries"]}
    assert (sent["pacs"]["state"], sent["pacs"]["attempts"]) == ("delivered", 1) and "reason" not in sent["pacs"]
    assert (sent["archive"]["state"], sent["archive"]["by"]) == ("released", "Dr A") and len(told["deliveries"]) == 2
    [review] = told["afterwards"]
    assert review["says"] == (
        "Dr A accepted report of ct-lung (by cli): it is right; what was held of it goes out"
    )


@pytest.fixture
def used(sqlite: str, tmp_path: Path) -> Path:
    store = Store(sqlite)
    live(store, Queries(store.engine), Arrivals(store))
    (tmp_path / "overread.toml").write_text('[node]\nspool = "spool"\n')
    return tmp_path


def _run(folder: Path, *words: str) -> Done:
    return overread(*words, "-c", folder / "overread.toml")


def test_the_commands_find_a_study_by_accession_and_write_the_page(used: Path) -> None:
    run = _run(used, "explain", "A-17", "--json", "--html", str(used / "story.html"))
    assert run.returncode == 0 and json.loads(run.stdout)["study"] == "1.2.3", run.stderr
    assert "Study 1.2.3" in (used / "story.html").read_text()
    text = _run(used, "explain", "1.2")
    assert "ct-lung on revision 2 done with ct-lung 1.0.0" in text.stdout and "archive: failed (1 x 0xA900)" in text.stdout
    nobody = _run(used, "explain", "A-99")
    assert nobody.returncode == 2 and "no studies have that accession number" in nobody.stderr
    inventory = _run(used, "inventory", "--json")
    assert [one["jobs"] for one in json.loads(inventory.stdout)] == [{"skipped": 1}, {"done": 1}]


def test_the_audit_commands_verify_list_and_erase(used: Path) -> None:
    run = _run(used, "audit", "verify", "--json")
    told = json.loads(run.stdout)
    assert run.returncode == 0 and told["broken"] is None and "not held against exported heads" in told["notes"][0]
    assert json.loads(_run(used, "audit", "heads", "--json").stdout) == []
    erased = _run(used, "audit", "erase", "--patient", "P1", "--by", "me", "--why", "asked")
    assert erased.stdout.startswith("1 rows erased"), erased.stderr
    again = _run(used, "audit", "erase", "--patient", "P1", "--by", "me", "--why", "asked")
    assert again.returncode == 1 and "erased already" in again.stderr
    assert _run(used, "audit", "verify", "--heads", "nowhere").returncode == 2
