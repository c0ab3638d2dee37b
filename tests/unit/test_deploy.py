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


# For each rule: series of an hour, a value a minute, with which it fires, and with which it does not.
FAILED, SKIPPED, DONE = (f'overread_jobs_finished_total{{pipeline="p",outcome="{word}"}}' for word in ("failed", "skipped", "done"))
AGE, EVENTS = 'overread_queue_age_seconds{queue="%s"}', 'overread_audit_events_total{type="%s"}'
ALARM = 'overread_alarms_open{pipeline="p",model="m",channel="c",kind="drift",state="open"}'
DISK = {"overread_spool_size_bytes": "100x60", "overread_spool_high_watermark_ratio": "0.85x60", "overread_spool_min_free_bytes": "5x60"}
ROUTE = 'overread_route_jobs_total{route="r",pipeline="p"}'
RULES_TRIED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "OverreadDown": ({'up{job="overread"}': "0x60"}, {'up{job="overread"}': "1x60"}),
    "OverreadDatabaseAway": ({"overread_up": "0x60"}, {"overread_up": "1x60"}),
    "OverreadLoopDown": ({'overread_loop_up{loop="work"}': "0x60"}, {'overread_loop_up{loop="work"}': "1x60"}),
    "OverreadLoopRestarts": ({'overread_loop_restarts_total{loop="work"}': "0+0.1x60"}, {'overread_loop_restarts_total{loop="work"}': "0x30 1x30"}),
    "OverreadQueueAge": ({AGE % "jobs": "2000x60"}, {AGE % "jobs": "1000x60", AGE % "deliveries": "2000x60"}),
    "OverreadDeliveriesWait": ({AGE % "deliveries": "4000x60"}, {AGE % "deliveries": "3000x60"}),
    "OverreadPeerAway": ({'overread_peer_up{peer="pacs"}': "0x60"}, {'overread_peer_up{peer="pacs"}': "1x45 0x10 1x5"}),
    "OverreadDeliveriesFail": ({'overread_deliveries_finished_total{peer="pacs",outcome="failed"}': "0x30 1x30"},
                               {'overread_deliveries_finished_total{peer="pacs",outcome="delivered"}': "0+1x60"}),
    "OverreadJobsFail": ({FAILED: "0x30 1x30"}, {FAILED: "3x60", DONE: "0+1x60"}),
    "OverreadMostSkipped": ({SKIPPED: "0+3x60", DONE: "0+1x60"}, {SKIPPED: "0+1x60", DONE: "0+3x60"}),
    "OverreadRouteSilent": ({ROUTE: "0+1x200 200x60"}, {ROUTE: "0+1x260"}),
    "OverreadDiskFilling": ({**DISK, "overread_spool_free_bytes": "10x60"}, {**DISK, "overread_spool_free_bytes": "16x60"}),
    "OverreadDiskFull": ({**DISK, "overread_spool_free_bytes": "4x60"}, {**DISK, "overread_spool_free_bytes": "6x60"}),
    "OverreadFilesMissing": ({EVENTS % "spool.missing": "0x30 1x30"}, {EVENTS % "spool.missing": "1x60"}),
    "OverreadRefusals": ({EVENTS % "association.burst": "0x50 1x10"}, {EVENTS % "association.refused": "0x50 1x10"}),
    "OverreadWrongTokens": ({"overread_web_refusals_total": "0+2x60"}, {"overread_web_refusals_total": "0+1x60"}),
    "OverreadAuditLog": ({EVENTS % "audit.broken": "0x30 1x30"}, {EVENTS % "audit.verified": "0x30 1x30"}),
    "OverreadMonitoringAlarm": ({ALARM: "1x60"}, {"overread_up": "1x60"}),
    "OverreadNearAlarm": ({'overread_watch_statistic_ratio{pipeline="p",model="m",channel="c"}': "0.2x60"},
                          {'overread_watch_statistic_ratio{pipeline="p",model="m",channel="c"}': "0.09x60"}),
    "OverreadSlowMetrics": ({"overread_scrape_seconds": "6x60"}, {"overread_scrape_seconds": "4x60"}),
}  # fmt: skip
SLOW = {"OverreadRouteSilent"}  # looks back for a week: its series are of an hour a value


def _tried(alert: str, step: str, at: str) -> list[dict[str, Any]]:
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return [{
        "interval": step, "name": f"{alert}, {'fires' if fires else 'is silent'}",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": [{"labels": "{}", "value": fires}]}],
    } for series, fires in zip(RULES_TRIED[alert], (1, 0), strict=True)]  # fmt: skip


@pytest.mark.parametrize(("alerts", "step", "at"), [(set(RULES_TRIED) - SLOW, "1m", "55m"), (SLOW, "1h", "230h")])
def test_each_rule_fires_when_it_should_and_not_else(tmp_path: Path, alerts: set[str], step: str, at: str) -> None:
    assert set(RULES_TRIED) == set(re.findall(r"- alert: (\w+)", RULES.read_text())), "each rule is tried"
    tests = [test for alert in sorted(alerts) for test in _tried(alert, step, at)]
    file = {"rule_files": [str(RULES)], "evaluation_interval": step, "tests": tests}
    (tmp_path / "test.yml").write_text(json.dumps(file))  # JSON is YAML
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
