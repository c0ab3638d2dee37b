"""What lies in deploy/: alert rules and the dashboard speak of metrics that there are, and Prometheus takes the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from node import audit
from node.config import Config
from node.readings import Readings
from node.store import Store
from node.web.metrics import NodeCollector, registry
from tests.conftest import ROOT, missing

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "overread.json"
NAME = re.compile(r"\boverread_[a-z_]+")


@pytest.fixture
def page(sqlite: str) -> str:
    store = Store(sqlite)
    collector = NodeCollector(Config(), Readings(store.engine, store.clock), ("receive",), lambda: (100, 50))
    text = generate_latest(registry(collector)).decode()
    store.dispose()
    return text


def _names(page: str) -> set[str]:
    """Every series name that a page of this node may hold."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        found |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found


def _dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


def _expressions() -> list[str]:
    return [target["expr"] for panel in _dashboard()["panels"] for target in panel.get("targets", [])]


def _promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        missing("prometheus", "promtool is not installed")
    return str(found)


def test_every_metric_that_a_rule_names_is_there(page: str) -> None:
    named = set(NAME.findall("\n".join(re.findall(r"expr: .*(?:\n {10}\S.*)*", RULES.read_text()))))
    assert len(named) > 10 and named <= _names(page)


def test_every_metric_that_the_dashboard_names_is_there(page: str) -> None:
    named = set(NAME.findall("\n".join(_expressions())))
    assert len(named) > 15 and named <= _names(page)


def test_every_event_type_that_a_rule_names_is_one() -> None:
    there = {*audit.TYPES, "audit.broken"}  # the last is written by `overread audit verify`
    assert set(re.findall(r'type="([a-z.]+)"', RULES.read_text())) <= there


def test_prometheus_takes_the_rules() -> None:
    run = subprocess.run([_promtool(), "check", "rules", str(RULES)], capture_output=True, text=True)
    assert run.returncode == 0 and "SUCCESS" in run.stdout, run.stdout + run.stderr


def test_prometheus_takes_the_page(page: str) -> None:
    run = subprocess.run([_promtool(), "check", "metrics"], input=page, capture_output=True, text=True)
    assert run.returncode == 0 and not run.stderr, run.stdout + run.stderr


def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, one in enumerate(_expressions()):
        expression = one.replace("$__rate_interval", "5m").replace("$instance", ".*")
        lines += [f"  - record: panel:{number}", f"    expr: {json.dumps(expression)}"]
    (tmp_path / "rules.yml").write_text("\n".join(lines))
    run = subprocess.run([_promtool(), "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("series", "alert", "fires"), [
    ({'overread_queue_age_seconds{queue="jobs"}': "2000x60"}, "OverreadQueueAge", True),
    ({'overread_queue_age_seconds{queue="jobs"}': "1000x60"}, "OverreadQueueAge", False),
    ({'overread_deliveries_finished_total{peer="pacs",outcome="failed"}': "0x30 1x30"}, "OverreadDeliveriesFail", True),
    ({"overread_spool_free_bytes": "10x60", "overread_spool_size_bytes": "100x60",
      "overread_spool_high_watermark_ratio": "0.85x60"}, "OverreadDiskFilling", True),
    ({"overread_spool_free_bytes": "16x60", "overread_spool_size_bytes": "100x60",
      "overread_spool_high_watermark_ratio": "0.85x60"}, "OverreadDiskFilling", False),
    ({'overread_alarms_open{pipeline="p",model="m",channel="c",kind="drift",state="open"}': "1x60"}, "OverreadMonitoringAlarm", True),
    ({'overread_watch_statistic_ratio{pipeline="p",model="m",channel="c"}': "0.09x60"}, "OverreadNearAlarm", False),
    ({'overread_watch_statistic_ratio{pipeline="p",model="m",channel="c"}': "0.2x60"}, "OverreadNearAlarm", True),
    ({'overread_audit_events_total{type="audit.broken"}': "0x30 1x30"}, "OverreadAuditLog", True),
])  # fmt: skip
def test_a_rule_fires_when_it_should(tmp_path: Path, series: dict[str, str], alert: str, fires: bool) -> None:
    test = {
        "rule_files": [str(RULES)], "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)', "eval_time": "55m",
                                  "exp_samples": [{"labels": "{}", "value": int(fires)}]}],
        }],
    }  # fmt: skip
    (tmp_path / "test.yml").write_text(json.dumps(test))  # JSON is YAML
    run = subprocess.run([_promtool(), "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_dashboard_is_whole() -> None:
    """Grafana is no peer of these tests: its own validation is not repeated, only what makes it import a dashboard."""
    shown = _dashboard()
    assert shown["title"] == "Overread" and shown["uid"] == "overread" and shown["schemaVersion"] >= 36
    panels = shown["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}" and panel["title"]
    assert {"datasource", "instance"} == {one["name"] for one in shown["templating"]["list"]}
