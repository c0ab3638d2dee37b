"""kill -9 at random moments while several modalities send several studies; `make crash` does it for much longer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest

from node.spool import Spool
from tests.crash.at_random import round_of_kills
from tests.crash.house import house, with_pipeline
from tests.crash.verify import settle, violations

pytestmark = pytest.mark.timeout(900)  # a few seconds each, but not where much else runs


def test_kills_at_random_moments_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    with house(tmp_path, "sqlite", "random", with_pipeline(tmp_path / "home")) as made:
        assert round_of_kills(made, Random(11), 6) == []
        assert sum(made.kills.values()) >= 6
        assert all(sending.complete for sending in made.sendings)


def test_without_a_kill_every_result_comes_once_and_what_does_not_hold_is_found(tmp_path: Path) -> None:
    with house(tmp_path, "sqlite", "calm", with_pipeline(tmp_path / "home")) as made:
        sendings = [made.send(way) for way in ("plain", "late")]
        assert settle(made, sendings) == [] and violations(made, sendings) == []
        assert len(made.pacs.came) == len(made.expected) > 6
        assert {len(each) for each in made.pacs.came.values()} == {1}

        study = made.node.study(sendings[0].uid)
        assert study is not None
        spool = Spool(made.node.config.node.spool)
        first, second, third, *_ = made.node.queries.stored_instances(study["id"])
        spool.path(first.path).unlink()
        spool.path(second.path).write_bytes(spool.path(third.path).read_bytes())
        results = [file for job in study["jobs"] for output in job["outputs"] for file in output["files"]]
        del made.pacs.came[results[0]["sop_uid"]]
        made.pacs.came[results[1]["sop_uid"]].append(hashlib.sha256(b"other").hexdigest())
        made.pacs.came["1.2.3"] = ["nobody made this"]
        with made.node.queries.engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER events_refuse_update")
            connection.exec_driver_sql("UPDATE events SET body = '{}' WHERE seq = 3")
        found = "\n".join(violations(made, sendings))
    for word in (f"{first.sop_uid} was acknowledged and its file", f"{second.sop_uid} was acknowledged and its file",
                 "has other bytes", "is missing", f"{results[0]['sop_uid']} is not at the PACS",
                 f"{results[1]['sop_uid']} came to the PACS with other bytes", "the PACS holds 1.2.3",
                 "the audit chain breaks after 2 events"):  # fmt: skip
        assert word in found
