"""What the routes want with a study that we hold."""

from __future__ import annotations

from pathlib import Path

import pydicom

from node.queries import StoredInstance
from node.routes import Header, Plan, Routes, header_values
from node.spool import Spool


def plan_of(instances: list[StoredInstance], routes: Routes, spool: Spool) -> Plan:
    """What the routes want with a study, by the first header of each series."""
    first = {one.series_uid: one for one in reversed(instances)}
    headers = [read_header(spool.path(one.path), routes.keywords) for one in reversed(first.values())]
    return routes.plan(headers, {one.peer for one in instances})


def read_header(path: Path, keywords: tuple[str, ...]) -> Header:
    """The values of the keywords in a stored file's header, as text."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(keywords), force=True)
    return header_values(dataset, keywords)
