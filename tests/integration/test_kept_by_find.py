"""Whether a peer without storage commitment keeps what we delivered, looked up by C-FIND at Orthanc and pynetdicom."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import peers, screens
from node.check import check
from node.queries import Queries
from tests.finders import archive
from tests.integration.test_commitment import files, make_delivery, sending, stored_anyway, the_delivery
from tests.nodes import wait_until
from tests.peers import Listening, listening, orthanc

__all__ = ["stored_anyway"]  # a fixture
ALL = [f"1.2.3.9.{number}" for number in range(3)]


@contextlib.contextmanager
def node_of(folder: Path, pacs_port: int, **send_settings: Any) -> Iterator[Listening]:
    """A listener whose peer `pacs` gets results and is looked at by C-FIND."""
    others = {
        "send": {"retry-after": 0.1, **send_settings},
        "peer": [{"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": pacs_port, "commitment": "find"}],
        "route": [{"name": "r", "pipelines": ["ct-lung"], "send-to": ["pacs"]}],
    }
    with listening(folder / "node", others=others) as node:
        make_delivery(node, "pacs", files(folder))
        yield node


def state(node: Listening) -> str:
    return str(the_delivery(node)["state"])


def test_what_orthanc_finds_is_committed_and_what_it_lost_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost, out = peers.store, [], list[str]()

    def store(config: Any, peer: Any, paths: Any) -> Iterator[peers.Answer]:
        for answer in real(config, peer, paths):
            out.append(answer.sop_uid)
            yield answer
        if not lost:
            [found] = pacs.ask("POST", "/tools/lookup", ALL[1])
            lost.append(pacs.ask("DELETE", f"/instances/{found['ID']}"))

    monkeypatch.setattr(peers, "store", store)
    with (
        orthanc(tmp_path / "pacs", {"node": ("OVERREAD", 104)}, DicomAet="PACS") as pacs,
        node_of(tmp_path, pacs.dicom_port) as node,
    ):
        with sending(node):
            wait_until(lambda: state(node) == "committed", 60, "committed")
        assert sorted(out[:3]) == ALL and out[3:] == [ALL[1]]
        assert pacs.ask("GET", "/statistics")["CountInstances"] == 3
        [told] = node.events("delivery.committed")
        assert (told["by"], told["instances"]) == ("C-FIND", 3)


def test_a_peer_that_finds_its_objects_late_gets_them_once(
    tmp_path: Path, stored_anyway: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with archive() as pacs, node_of(tmp_path, pacs.port) as node, sending(node):
        wait_until(lambda: pacs.asked, 30, "looked")
        pacs.holds["1.2.3"] = {"1.2.3.9": ALL}
        wait_until(lambda: state(node) == "committed", 30, "committed")
        assert stored_anyway == ALL and set(pacs.asked) == {("IMAGE", "1.2.3")}
        [line] = [line for line in check(node.config) if line.subject == "pacs"]
        assert (
            line.ok and "a C-FIND looks whether it keeps results" in line.text and line.text.endswith("takes queries")
        )


def test_what_a_peer_never_finds_is_sent_so_often_and_then_a_person_must_look(
    tmp_path: Path, stored_anyway: list[str]
) -> None:
    with (
        archive(holds={"1.2.3": {"1.2.3.9": ALL[:2]}}) as pacs,
        node_of(tmp_path, pacs.port, **{"commitment-attempts": 2}) as node,
    ):
        with sending(node):
            wait_until(lambda: state(node) == "failed", 60, "failed")
        assert the_delivery(node)["reason"] == "pacs does not keep 1 of 3 instances: 1 x 0x0112"
        assert stored_anyway == [*ALL, ALL[2]]
        assert node.rows("select reason from answers where stored = 0") == [
            {"reason": "C-FIND: the peer does not keep it"}
        ]


@pytest.mark.parametrize("settings", [{"status": 0xC001}], ids=["unable"])
def test_a_peer_that_takes_no_such_query_keeps_the_delivery_delivered_with_the_reason(
    tmp_path: Path, stored_anyway: list[str], settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with archive(**settings) as pacs, node_of(tmp_path, pacs.port) as node:
        with sending(node):
            wait_until(lambda: node.events("delivery.unasked"), 30, "given up")
        capsys.readouterr()
        shown = Queries(node.store.engine).study("1.2.3")
        assert shown is not None and state(node) == "delivered"
        screens.study(shown, [])
        assert "pacs answers a query with 0xC001" in " ".join(capsys.readouterr().out.split())
