"""Monitoring: how many studies until an alarm, and how many between false ones, beside the common choices.

ARL0 is 10,000 studies for all methods. `OVERREAD_BENCH_SHARE=0.1` runs a tenth of the streams, `OVERREAD_BENCH_SHOW=1`
says what is done.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from tests.bench.watch import common, jobs
from tests.bench.watch.ours import Waits
from tests.bench.watch.world import LABELLED, PER_DAY, Habit

LAG = 7 * PER_DAY  # studies that come before a label does
STRESS = {  # name: (size of the baseline, habit, at least)
    "baseline of 5,000": (5000, Habit(), 8000),
    "baseline of 2,000": (2000, Habit(), None),
    "baseline of 500": (500, Habit(), None),
    "correlation .02 within days, 250 days": (5000, Habit(correlation=0.02), 8000),
    "prevalence waves by 20 % over the year": (5000, Habit(wave=0.2), None),
    "another mix at weekends": (5000, Habit(weekend=True), None),
}


def run() -> dict[str, Any]:
    """All of it; each run has its own fixed seed, so that the figures do not depend on how many processes share them."""
    share = float(os.environ.get("OVERREAD_BENCH_SHARE", "1"))
    verbose = "OVERREAD_BENCH_SHOW" in os.environ

    def some(streams: int) -> int:
        return max(10, round(streams * share))

    groups = max(2, round(6 * share))
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        waiting: dict[tuple[str, ...], list[Any]] = {}
        long = round(3 * jobs.ARL0)
        waiting["free", "known law"] = [pool.submit(jobs.false_alarms, some(50), long, 40 + k) for k in range(4)]
        for index, name in enumerate(jobs.SHIFTS):
            waiting["delay", name] = [pool.submit(jobs.delay, name, some(100), 500 + 10 * index + k) for k in range(4)]
            waiting["learnt", name] = [
                pool.submit(jobs.delay, name, some(60), 900 + 20 * index + k, 5000) for k in range(groups)
            ]
        labelled = [name for name in jobs.SHIFTS if "labelled" in name]
        for index, name in enumerate(labelled):
            waiting["late", name] = [pool.submit(jobs.delay, name, some(200), 1200 + index, None, True)]
        for band in (0.0, 0.4):
            waiting["share", f"dead band {band:.0%}"] = [pool.submit(jobs.prevalence, some(300), 1300, band)]
        waiting["published", "sorin"] = [pool.submit(jobs.sorin, some(300), 1400)]
        waiting["published", "zamzmi"] = [pool.submit(jobs.zamzmi, some(400), 1500)]
        for index, method in enumerate(common.methods()):
            waiting["usual", method] = [pool.submit(jobs.usual, method, some(100), long, 7000 + 100_000 * index)]
        for index, (name, (size, habit, _)) in enumerate(STRESS.items()):
            waiting["stress", name] = [
                pool.submit(jobs.false_alarms, 25, long, 100 * index + group, size, habit,
                            habit.correlation > 0)
                for group in range(groups)
            ]  # fmt: skip
        done = {}
        for key, futures in waiting.items():
            done[key] = [one.result() for one in futures]
            if verbose:
                print(time.strftime("%H:%M:%S"), *key, flush=True)
    found: dict[str, Any] = {"ARL0": jobs.ARL0, "share of the streams": share}
    found["delay"] = {name: _pooled(done["delay", name]) for name in jobs.SHIFTS}
    found["delay, baseline of 5,000"] = {name: _pooled(done["learnt", name]) for name in jobs.SHIFTS}
    found["delay, 30 % labelled, 7 days later"] = {name: _late(_pooled(done["late", name])) for name in labelled}
    found["delay, prevalence without labels"] = {
        key[1]: value[0].report() for key, value in done.items() if key[0] == "share"
    }
    found["common choices"] = {key[1]: value[0] for key, value in done.items() if key[0] == "usual"}
    found["false alarms"] = {"known law": _pooled(done["free", "known law"], delays=False)} | {
        name: _pooled(done["stress", name], delays=False) for name in STRESS
    }
    found["published"] = {"sorin": done["published", "sorin"][0], "zamzmi": done["published", "zamzmi"][0]}
    found["cost"] = jobs.cost(5000)
    return found


def _pooled(parts: list[dict[str, Waits]], delays: bool = True) -> dict[str, Any]:
    found = {}
    for name in parts[0]:
        studies = np.concatenate([one[name].studies for one in parts])
        waits = Waits(studies, parts[0][name].limit, sum(one[name].early for one in parts))
        found[name] = waits.report() if delays else waits.run_length()
    return found


def _late(found: dict[str, Any]) -> dict[str, Any]:
    """All labels come the same time later, and so does the alarm."""
    moved = ("mean", "low", "high", "p90")
    return {name: {key: round(value + LAG, 1) if key in moved else value for key, value in one.items()}
            for name, one in found.items()}  # fmt: skip


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table of figures beside what is to be reached."""
    table: list[tuple[str, ...]] = [
        ("", "reach", "alone", "p90", "family of 12", "p90", "baseline of 5,000", "the common choice, same ARL0")
    ]
    for name, (_, _, _, reach) in jobs.SHIFTS.items():
        one, learnt = found["delay"][name], found["delay, baseline of 5,000"][name]
        others = [f"{method} {_mean(by[name])}" for method, by in found["common choices"].items() if name in by]
        table.append((
            name, f"{reach[0]} / {reach[1]}" if reach else "", _mean(one["single"]), _number(one["single"]["p90"]),
            _mean(one["family"]), _number(one["family"]["p90"]),
            f"{_mean(learnt['single'])} / {_mean(learnt['family'])}", "; ".join(others),
        ))  # fmt: skip
    for name, one in found["delay, 30 % labelled, 7 days later"].items():
        table.append((f"{name}: {LABELLED:.0%}, {LAG} later", "", _mean(one["single"]), _number(one["single"]["p90"]),
                      _mean(one["family"]), _number(one["family"]["p90"]), "", ""))  # fmt: skip
    for name, one in found["delay, prevalence without labels"].items():
        table.append((f"prevalence 10 -> 20 %, no labels, {name}", "", _mean(one), _number(one["p90"]), "", "", "", ""))
    for name, one in found["false alarms"].items():
        least = 10_000 if name == "known law" else STRESS[name][2]
        raised = f"days drawn anew: {_run(one['blocks'])}" if "blocks" in one else ""
        table.append((f"studies between false alarms: {name}", f">= {least}" if least else "", _run(one["score alone"]), "",
                      _run(one["family"]), "", raised, f"with the product's weights {_run(one['weighted'])}"))  # fmt: skip
    one = found["published"]["zamzmi"]
    table.append(("days until strangers .5 -> 4 %, 100 a day", "1.4", _mean(one), _number(one["p90"]), "", "", "",
                  "2 (published)"))  # fmt: skip
    reach = {"specificity -2 points": "22", "discordance x 2": "12", "sensitivity -10 points": "31"}
    for shared, by in found["published"]["sorin"].items():
        for what, days in reach.items():
            one = by[what]
            table.append((f"days until {what}, {shared}", days, _mean(one["ours"]), _number(one["ours"]["p90"]), "", "", "",
                          f"rule {_mean(one['rule'])}; ours, as seldom false as the rule "
                          f"({by['rule, days between false alarms']['arl']:.0f} days): "
                          f"{_mean(one['ours, as seldom false'])}"))  # fmt: skip
    cost = found["cost"]
    table.append(
        ("microseconds a study, 30 channels", "50", f"{cost['microseconds a study, median']}", "", "", "", "", "")
    )
    table.append(
        ("seconds to replay 100,000 studies", "10", f"{cost['replay of 100,000, seconds']}", "", "", "", "", "")
    )
    return table


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def _mean(one: dict[str, float]) -> str:
    late = f", {one['censored']:.0%} never" if one["censored"] > 0 else ""
    return f"{_number(one['mean'])} ({_number(one['low'])}-{_number(one['high'])}{late})"


def _run(one: dict[str, float]) -> str:
    return f"{one['arl']:,.0f} ({one['low']:,.0f}-{one['high']:,.0f})"


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=2))
