"""Storage commitment both ways with pynetdicom's and Orthanc's: our listener and our send loop beside them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import peers, screens, send
from node.check import check
from node.config import Config
from node.queries import Queries
from node.spool import Spool
from node.store import JobResult, NewJob, NewOutput, OutputFile, Store
from pipelines.phantom_studies import chest_study
from tests.committers import provider, requester
from tests.nodes import running_node, wait_until
from tests.peers import Listening, free_port, listening, listening_process, orthanc
from tests.senders import CT, Sender, instance, write

ALL = ("echo", "store", "commit")


@contextlib.contextmanager
def sending(node: Listening) -> Iterator[None]:
    """The send loop beside a listener, in a thread."""
    stop = threading.Event()
    store = Store(node.config.node.database)
    loop = threading.Thread(target=send.serve, args=(node.config, store, Spool(node.config.node.spool), stop, "send"))
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join(20)
        store.dispose()


def store_at(node: Listening, *numbers: int) -> list[tuple[str, str]]:
    with Sender(node.port) as sender:
        for number in numbers:
            assert sender.send(instance(number))[0] == 0
    return [(CT, f"1.2.3.9.{number}") for number in numbers]


def state_of_requests(node: Listening) -> list[str]:
    return [row["state"] for row in node.rows("select state from commitments order by id")]


def named(items: Any) -> list[str]:
    return sorted(str(item.ReferencedSOPInstanceUID) for item in items)


# -- as SCP ----------------------------------------------------------------------------------------------------------


def test_a_modality_that_stays_hears_what_we_hold_on_its_own_association(tmp_path: Path) -> None:
    with requester() as modality, listening(tmp_path, may=ALL, each={"port": modality.port}) as node:
        held = store_at(node, 1, 2)
        assert modality.ask(node.port, "2.25.1", [*held, (CT, "1.2.3.9.7")], stay=10) == 0
        (told,) = modality.heard
        assert named(told.ReferencedSOPSequence) == ["1.2.3.9.1", "1.2.3.9.2"]
        assert [(str(i.ReferencedSOPInstanceUID), i.FailureReason) for i in told.FailedSOPSequence] == [
            ("1.2.3.9.7", 0x0112)
        ]
        wait_until(lambda: state_of_requests(node) == ["reported"], 5, "reported")


def test_a_modality_that_releases_hears_it_on_an_association_of_ours(tmp_path: Path) -> None:
    with requester() as modality, listening(tmp_path, may=ALL, each={"port": modality.port}) as node:
        held = store_at(node, 1)
        assert modality.ask(node.port, "2.25.1", held) == 0
        with sending(node):
            wait_until(lambda: modality.heard, 15, "the answer")
            wait_until(lambda: state_of_requests(node) == ["reported"], 5, "reported")
            (told,) = modality.heard
            assert (str(told.TransactionUID), named(told.ReferencedSOPSequence)) == ("2.25.1", ["1.2.3.9.1"])
            assert "FailedSOPSequence" not in told
            # A file that is lost after its instance was acknowledged is not hidden behind the row.
            node.instances()[0]["file"].unlink()
            assert modality.ask(node.port, "2.25.1", held) == 0
            wait_until(lambda: len(modality.heard) == 2, 15, "the second answer")
            assert named(modality.heard[1].FailedSOPSequence) == ["1.2.3.9.1"]


def test_a_modality_that_is_away_hears_it_when_it_is_back_also_after_a_restart(tmp_path: Path) -> None:
    each = {"port": 1}
    with requester() as modality:
        with listening(tmp_path, may=ALL, each=each) as node:
            held = store_at(node, 1)
            modality.status = 0x0110  # it does not take the answer while it is on the line either
            assert modality.ask(node.port, "2.25.1", held, stay=1.5) == 0
            wait_until(lambda: len(node.events("commitment.retried")) == 1, 10, "refused on the same association")
            with sending(node):
                wait_until(lambda: len(node.events("commitment.retried")) == 2, 15, "away")
        modality.status = 0
        with listening(tmp_path, may=ALL, each={"port": modality.port}) as node, sending(node):
            wait_until(lambda: modality.heard, 30, "the answer after the restart")
            wait_until(lambda: state_of_requests(node) == ["reported"], 5, "reported")


def test_a_request_outlives_the_listener_that_took_it(tmp_path: Path) -> None:
    with requester() as modality:
        with listening_process(tmp_path, ALL) as node:
            held = store_at(node, 1)
            assert modality.ask(node.port, "2.25.1", held) == 0
            assert node.process is not None
            node.process.kill()
            node.process.wait()
        with listening(tmp_path, may=ALL, each={"port": modality.port}) as node, sending(node):
            wait_until(lambda: modality.heard, 20, "the answer after the kill")
        assert named(modality.heard[0].ReferencedSOPSequence) == ["1.2.3.9.1"]


def test_the_request_of_the_only_sender_completes_the_study(tmp_path: Path) -> None:
    with requester() as modality, listening(tmp_path, may=ALL, each={"port": modality.port}) as node:
        held = store_at(node, 1, 2)
        queries = Queries(node.store.engine)
        assert queries.open_studies()[0].commitment_by is None
        modality.ask(node.port, "2.25.1", held[:1])
        assert queries.open_studies()[0].commitment_by is None
        modality.ask(node.port, "2.25.2", held)
        assert queries.open_studies()[0].commitment_by == "sender"


# -- as SCU ----------------------------------------------------------------------------------------------------------


def make_delivery(node: Listening, peer: str, files: list[Path]) -> None:
    """A result of `files` that is due for `peer`."""
    store_at(node, 99)
    queries = Queries(node.store.engine)
    study = queries.open_studies()[0]
    node.store.close_study(study.id, study.last_received_at, "test", [NewJob("ct-lung", ("r",), (peer,))], {})
    job = node.store.claim_job("w", 30)
    assert job is not None
    made = []
    for number, path in enumerate(files):
        target = node.spool.root / "results" / path.name
        target.write_bytes(path.read_bytes())
        made.append(OutputFile(f"1.2.3.9.{number}", f"results/{path.name}", "d", target.stat().st_size))
    node.store.finish_job(job, [NewOutput("heatmap", "1.2.3.9", CT, tuple(made))], JobResult("s", "d", {}, {}, {}))


def the_delivery(node: Listening) -> dict[str, Any]:
    study = Queries(node.store.engine).study("1.2.3")
    assert study is not None
    return dict(study["jobs"][0]["outputs"][0]["deliveries"][0])


@pytest.fixture
def stored_anyway(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """C-STORE is not what these tests are about: the peer stores all; gives what went out."""
    out: list[str] = []

    def store(_config: Config, _peer: Any, files: Any) -> Iterator[peers.Answer]:
        for path in files:
            uid = path.name.rpartition("-")[0]
            out.append(uid)
            yield peers.Answer(path, uid, 0, "", stored=True, final=True)

    monkeypatch.setattr(peers, "store", store)
    return out


@contextlib.contextmanager
def node_of(tmp_path: Path, pacs_port: int, port: int = 0, **send_settings: Any) -> Iterator[Listening]:
    """A listener whose peer `pacs` gets results and is asked for commitment."""
    others = {
        "send": {"retry-after": 0.1, **send_settings},
        "peer": [{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": pacs_port, "commitment": "ask"}],
        "route": [{"name": "r", "pipelines": ["ct-lung"], "send-to": ["pacs"]}],
    }
    with listening(tmp_path / "node", may=ALL, others=others, port=port) as node:
        yield node


def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "out", instance(number)) for number in range(3)]


def test_a_pacs_that_answers_on_the_same_association_commits_the_delivery(
    tmp_path: Path, stored_anyway: list[str]
) -> None:
    with provider(how="same") as pacs, node_of(tmp_path, pacs.port) as node:
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: the_delivery(node)["state"] == "committed", 15, "committed")
        [(transaction, uids)] = pacs.asked
        assert uids == ["1.2.3.9.0", "1.2.3.9.1", "1.2.3.9.2"] and transaction.startswith("2.25.")
        wait_until(lambda: pacs.said == [0], 5, "our response")


def test_a_pacs_that_calls_us_with_its_answer_commits_the_delivery(tmp_path: Path, stored_anyway: list[str]) -> None:
    with provider(how="new") as pacs, node_of(tmp_path, pacs.port) as node:
        pacs.node_port = node.port
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: the_delivery(node)["state"] == "committed", 15, "committed")
        wait_until(lambda: pacs.said == [0], 5, "our response")


def test_what_the_pacs_does_not_keep_is_sent_again_until_it_does(tmp_path: Path, stored_anyway: list[str]) -> None:
    with provider(how="same", lacks={"1.2.3.9.1"}) as pacs, node_of(tmp_path, pacs.port) as node:
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: len(stored_anyway) > 3, 15, "sent again")
            pacs.lacks.clear()
            wait_until(lambda: the_delivery(node)["state"] == "committed", 15, "committed")
        assert set(stored_anyway[3:]) == {"1.2.3.9.1"}


def test_a_pacs_that_never_keeps_it_gets_it_so_often_and_then_a_person_must_look(
    tmp_path: Path, stored_anyway: list[str]
) -> None:
    lacking = {"how": "same", "lacks": {"1.2.3.9.1"}}
    with provider(**lacking) as pacs, node_of(tmp_path, pacs.port, **{"commitment-attempts": 2}) as node:
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: the_delivery(node)["state"] == "failed", 20, "failed")
        assert the_delivery(node)["reason"] == "pacs does not keep 1 of 3 instances: 1 x 0x0112"
        assert (len(pacs.asked), len(stored_anyway)) == (2, 4)


def test_a_pacs_that_does_not_answer_is_asked_again_and_the_delivery_stays_delivered(
    tmp_path: Path, stored_anyway: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.confirm.WAIT_HERE", 0.2)
    settings = {"commitment-attempts": 2, "commitment-wait": 0.5}
    with provider(how="never") as pacs, node_of(tmp_path, pacs.port, **settings) as node:
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: len(node.events("delivery.unanswered")) == 2, 20, "unanswered twice")
        assert [told["again"] for told in node.events("delivery.unanswered")] == [True, False]
        assert len({transaction for transaction, _ in pacs.asked}) == 2
        assert (the_delivery(node)["state"], the_delivery(node)["commitment"]["state"]) == ("delivered", "unanswered")


def test_a_pacs_that_refuses_such_requests_keeps_the_delivery_delivered_with_the_reason(
    tmp_path: Path, stored_anyway: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with provider(status=0x0124) as pacs, node_of(tmp_path, pacs.port) as node:
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: node.events("delivery.unasked"), 15, "given up")
        assert the_delivery(node)["state"] == "delivered"
        assert the_delivery(node)["commitment"]["reason"] == "pacs answers 0x0124 not authorised"
        shown = Queries(node.store.engine).study("1.2.3")
        assert shown is not None
        screens.study(shown, [])
        assert (
            "delivered 3 x 0x0000 (commitment is not to be had: pacs answers 0x0124 not authorised)"
            in capsys.readouterr().out
        )


def test_check_says_whether_a_peer_is_asked_and_takes_it(tmp_path: Path) -> None:
    with provider() as pacs, node_of(tmp_path, pacs.port) as node:
        lines = {line.subject: line for line in check(node.config) if line.area == "peer"}
        assert "is asked for storage commitment" in lines["pacs"].text and "takes such requests" in lines["pacs"].text
        assert "storage commitment" not in lines["sender"].text and "echo and store and commit" in lines["sender"].text


# -- Orthanc ---------------------------------------------------------------------------------------------------------


def test_orthanc_asks_us_about_what_it_sent_and_hears_our_answer(tmp_path: Path) -> None:
    port = free_port()
    with (
        orthanc(tmp_path / "pacs", {"node": ("OVERREAD", port)}) as pacs,
        listening(tmp_path / "node", may=ALL, each={"port": pacs.dicom_port}, port=port) as node,
        sending(node),
    ):
        for path in files(tmp_path):
            pacs.ask("POST", "/instances", path.read_bytes())
        (study,) = pacs.ask("GET", "/studies")
        order = {"Resources": [study], "Synchronous": True, "Timeout": 60, "StorageCommitment": True}
        told = pacs.ask("POST", "/modalities/node/store", json.dumps(order))
        transaction = told["StorageCommitmentTransactionUID"]

        def status() -> str:
            return str(pacs.ask("GET", f"/storage-commitment/{transaction}")["Status"])

        wait_until(lambda: status() == "Success", 30, "Orthanc has our answer")
        assert Queries(node.store.engine).open_studies()[0].commitment_by == "orthanc"
        order = {"DicomInstances": [[CT, "1.2.3.9.0"], [CT, "1.2.3.9.77"]]}
        asked = pacs.ask("POST", "/modalities/node/storage-commitment", json.dumps(order))
        transaction = asked["ID"]
        wait_until(lambda: status() == "Failure", 30, "Orthanc has our answer")
        answer = pacs.ask("GET", f"/storage-commitment/{transaction}")
        assert [one["SOPInstanceUID"] for one in answer["Success"]] == ["1.2.3.9.0"]
        assert [one["SOPInstanceUID"] for one in answer["Failures"]] == ["1.2.3.9.77"]


def test_the_whole_way_with_orthanc_it_asks_us_about_its_study_and_we_ask_it_about_our_results(tmp_path: Path) -> None:
    chest_study(tmp_path / "study", seed=7, slices=32, matrix=128)
    port = free_port()
    with orthanc(tmp_path / "pacs", {"node": ("OVERREAD", port)}, DicomAet="PACS") as pacs:
        changes = {
            f'port = {pacs.dicom_port}\nmay = ["echo", "store"]':
            f'port = {pacs.dicom_port}\nmay = ["store", "commit"]\ncommitment = "ask"',
        }  # fmt: skip
        with running_node(tmp_path / "node", pacs.dicom_port, quiet_time=600, port=port, changes=changes) as node:
            for path in sorted((tmp_path / "study").rglob("*.dcm")):
                pacs.ask("POST", "/instances", path.read_bytes())
            (study,) = pacs.ask("GET", "/studies")
            uid = pacs.ask("GET", f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]
            order = {"Resources": [study], "Synchronous": True, "Timeout": 60, "StorageCommitment": True}
            told = pacs.ask("POST", "/modalities/node/store", json.dumps(order))

            def committed() -> bool:
                shown = node.study(uid)
                sent = [d["state"] for job in (shown or {"jobs": []})["jobs"] for o in job["outputs"] for d in o["deliveries"]]
                return bool(sent) and set(sent) == {"committed"}

            wait_until(committed, 120, "every result is committed")
            shown = node.study(uid)
            assert shown is not None and shown["reason"] == "storage commitment asked for by pacs"
            asked = pacs.ask("GET", f"/storage-commitment/{told['StorageCommitmentTransactionUID']}")
            assert asked["Status"] == "Success" and len(asked["Success"]) == 32
            assert node.queries.verify()[1] is None


def test_orthanc_keeps_what_we_delivered_and_says_so_to_our_listener(tmp_path: Path) -> None:
    port = free_port()
    with (
        orthanc(tmp_path / "pacs", {"node": ("OVERREAD", port)}, DicomAet="PACS") as pacs,
        node_of(tmp_path, pacs.dicom_port, port) as node,
    ):
        make_delivery(node, "pacs", files(tmp_path))
        with sending(node):
            wait_until(lambda: the_delivery(node)["state"] == "committed", 30, "committed")
        events = [one for one in Queries(node.store.engine).events("study/1.2.3") if one.type.startswith("delivery.")]
        assert [(one.type, one.actor) for one in events] == [
            ("delivery.claimed", "send"), ("delivery.delivered", "send"), ("delivery.asked", "send"),
            ("delivery.committed", "receive"),
        ]  # fmt: skip
        assert pacs.ask("GET", "/statistics")["CountInstances"] == 3
