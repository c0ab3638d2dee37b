"""Runs the benchmarks, prints a table of each, writes bench-out/<name>.json: `python -m tests.bench [NAME...]`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from node import __version__

FOLDER = Path(__file__).parent
OUT = FOLDER.parent.parent / "bench-out"


def main() -> None:
    """Run those that are named, or all."""
    known = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    wanted = sys.argv[1:] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]!r}; there are: {', '.join(known)}")
    OUT.mkdir(exist_ok=True)
    console = Console()
    for name in wanted:
        module = importlib.import_module(f"tests.bench.bench_{name}")
        console.print(f"[bold]{name}[/bold]: {(module.__doc__ or '').splitlines()[0]}")
        began = time.monotonic()
        found: dict[str, Any] = module.run()
        found["bench"] = {
            "name": name, "seconds": round(time.monotonic() - began, 1), "overread": __version__,
            "python": platform.python_version(), "machine": f"{os.cpu_count()} x {platform.machine()}",
            "system": platform.platform(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        (OUT / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        rows = module.rows(found) if hasattr(module, "rows") else [("figure", "value"), *_flat(found)]
        table = Table(*rows[0])
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
        for what, why in found.get("missing", {}).items():
            console.print(f"{what} is not measured: {why}")
        console.print(f"{OUT / f'{name}.json'} ({found['bench']['seconds']} s)\n")


def _flat(found: dict[str, Any], before: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for key, value in found.items():
        if key == "bench":
            continue
        rows += _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", str(value))]
    return rows


if __name__ == "__main__":
    main()
