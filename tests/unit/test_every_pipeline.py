"""The contract of pipelines, held over every one that is registered, with its own model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.shelf import Shelf
from pipelines import registry
from pipelines.base import Executed, Pipeline, Unsuitable, execute, maker_of
from pipelines.examples import ct_study
from pipelines.feature_names import is_listed
from pipelines.match import Match
from pipelines.outputs.identity import Maker, is_ours
from pipelines.study import Study

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
every_pipeline = pytest.mark.parametrize("name", registry.names())
Open = Callable[[str], Pipeline]
Run = Callable[[str], tuple[Study, Maker, Executed]]


@pytest.fixture(scope="module")
def opened() -> Open:
    """Each pipeline opened once, with its model on the CPU."""
    held: dict[str, Pipeline] = {}

    def get(name: str) -> Pipeline:
        if name not in held:
            held[name] = registry.load(name, device="cpu")
        return held[name]

    return get


@pytest.fixture(scope="module")
def ran(opened: Open) -> Run:
    """Each pipeline run once on its own example."""
    held: dict[str, tuple[Study, Maker, Executed]] = {}

    def get(name: str) -> tuple[Study, Maker, Executed]:
        if name not in held:
            pipeline = opened(name)
            study, maker = pipeline.example(), maker_of(pipeline, "0.1.0", CREATED)
            held[name] = study, maker, execute(pipeline, study, pipeline.select(study), maker)
        return held[name]

    return get


def encoded(executed: Executed) -> dict[str, list[bytes]]:
    return {made.name: [one.content for one in made.kept] for made in executed.made}


def test_there_is_a_pipeline() -> None:
    assert "ct-lung" in registry.names()


@every_pipeline
def test_it_is_called_what_the_registry_calls_it_and_names_its_model(opened: Open, name: str) -> None:
    pipeline = opened(name)
    assert pipeline.name == name
    assert pipeline.version
    assert set(pipeline.model) == {"name", "version", "digest"}
    assert len(pipeline.model["digest"]) == 64


@every_pipeline
def test_what_it_accepts_is_data(opened: Open, name: str) -> None:
    accepts = opened(name).accepts
    assert Match.from_dict(json.loads(json.dumps(accepts.to_dict()))) == accepts
    assert accepts.words()


@every_pipeline
def test_its_example_is_suitable_and_always_the_same(opened: Open, name: str) -> None:
    first, again = opened(name).example(), registry.load(name, device="cpu").example()
    assert first.digest == again.digest
    assert opened(name).select(first).digest == opened(name).select(again).digest


@every_pipeline
def test_its_example_gives_outputs_that_pass_the_gate(opened: Open, ran: Run, name: str) -> None:
    study, _, executed = ran(name)
    assert executed.made
    if opened(name).model["name"] in Shelf().names():
        assert re.fullmatch("[0-9a-f]{64}", executed.seen or ""), "the log wants to know what the model saw"
    assert len({made.name for made in executed.made}) == len(executed.made)
    assert executed.series in study.series


@every_pipeline
def test_its_results_join_the_study_as_new_series_of_their_own(ran: Run, name: str) -> None:
    study, _, executed = ran(name)
    numbers = [series.get("SeriesNumber") for series in study.series]
    uids = [series.SeriesInstanceUID for series in study.series]
    for made in executed.made:
        datasets = [one.dataset() for one in made.kept]
        assert {one.StudyInstanceUID for one in datasets} == {study.StudyInstanceUID}
        assert {(one.SOPClassUID, one.SeriesInstanceUID) for one in datasets} == {
            (made.SOPClassUID, made.SeriesInstanceUID)
        }
        assert [int(one.InstanceNumber) for one in datasets] == list(range(1, len(datasets) + 1))
        [number] = {int(one.SeriesNumber) for one in datasets}
        numbers.append(number)
        uids.append(made.SeriesInstanceUID)
    assert len(set(numbers)) == len(numbers)
    assert len(set(uids)) == len(uids)
    instances = [one.SOPInstanceUID for made in executed.made for one in made.kept]
    assert len(set(instances)) == len(instances)


@every_pipeline
def test_a_rerun_writes_the_same_bytes(opened: Open, ran: Run, name: str) -> None:
    study, maker, executed = ran(name)
    assert encoded(execute(opened(name), study, executed.series, maker)) == encoded(executed)


@every_pipeline
def test_its_results_are_known_as_ours_and_never_taken_in_again(
    opened: Open, ran: Run, name: str, tmp_path: Path
) -> None:
    study, _, executed = ran(name)
    paths = []
    for output, files in encoded(executed).items():
        for number, content in enumerate(files):
            paths.append(tmp_path / f"{output}-{number}.dcm")
            paths[-1].write_bytes(content)
    results = Study.from_files(paths)
    assert all(is_ours(one.header) for one in results.instances)
    both = Study(study.StudyInstanceUID, (*results.series, *study.series))
    assert opened(name).select(both).digest == executed.series.digest
    with pytest.raises(Unsuitable, match="is a result of Overread"):
        opened(name).select(results)


@every_pipeline
def test_findings_and_features_are_plain_data(ran: Run, name: str) -> None:
    _, _, executed = ran(name)
    json.dumps(dict(executed.findings), allow_nan=False)
    json.dumps(dict(executed.features), allow_nan=False)
    assert all(value is None or isinstance(value, float | str) for value in executed.features.values())
    assert [one for one in executed.features if not is_listed(one)] == [], "see pipelines.feature_names"
    groups = {one.split(".")[0] for one in executed.features}
    assert groups >= {"completeness", "device", "acquisition", "patient"}


@pytest.mark.parametrize("name", ["ct-lung", "cxr-triage"])
def test_the_bundled_pipelines_give_every_group_of_features(ran: Run, name: str) -> None:
    _, _, executed = ran(name)
    groups = {one.split(".")[0] for one in executed.features}
    assert groups >= {"pixels", "embedding", "output", "uncertainty"}
    embedding = json.loads(str(executed.features["embedding"]))
    assert 8 <= len(embedding) <= 64 and all(isinstance(one, float) for one in embedding)
    assert np.linalg.norm(embedding) > 0.1


@every_pipeline
def test_the_stages_are_timed(ran: Run, name: str) -> None:
    _, _, executed = ran(name)
    assert all(seconds >= 0 for seconds in executed.timings.values())
    assert {"run", *(f"write.{made.name}" for made in executed.made)} <= set(executed.timings)


@every_pipeline
def test_a_study_of_another_kind_is_unsuitable_with_a_reason(opened: Open, name: str, tmp_path: Path) -> None:
    ct_study(np.zeros((2, 8, 8), np.int16), (5, 5, 5), tmp_path, Modality="NM", PatientName="Someone^Real")
    with pytest.raises(Unsuitable) as refused:
        opened(name).select(Study.from_folder(tmp_path))
    assert "series 2" in refused.value.reason
    assert "Someone" not in refused.value.reason
    assert str(tmp_path) not in refused.value.reason


@pytest.mark.parametrize("module", ["base", "registry", "study", "match", "volume", "outputs.identity"])
def test_importing_the_contracts_costs_neither_torch_nor_highdicom(module: str) -> None:
    code = f"import sys, pipelines.{module}; print(sorted({{'torch', 'monai', 'highdicom'}} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_pipeline_is_named_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match="no pipeline 'ct-lunge'.*ct-lung"):
        registry.load("ct-lunge")
