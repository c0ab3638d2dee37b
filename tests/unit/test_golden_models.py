"""The golden set with the real models: the same is silent; other weights and another preprocessing are found."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from typer.testing import CliRunner

from models import shelf
from models.training.writer import write_package
from node import variants
from node.cli import app
from node.config import Config
from node.queries import open_queries
from node.runners import child, local
from pipelines import golden_run, pixels, registry
from pipelines.base import Pipeline
from pipelines.cxr_triage import CxrTriage
from pipelines.golden import Measured, compare

SOFTWARE = {"overread": "0.1.0"}
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def without_twins() -> Iterator[None]:
    """They take time, and test_twins.py has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden_run, "twins_apart", lambda *_given: ())
        yield


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return registry.load("cxr-triage", device="cpu")


def measured(pipeline: Pipeline) -> Measured:
    pipeline._looks.clear()  # type: ignore[attr-defined]
    return golden_run.run(pipeline, SOFTWARE, CREATED)


@pytest.fixture(scope="module")
def record(pipeline: Pipeline) -> Measured:
    return measured(pipeline)


def moved(pipeline: Pipeline, record: Measured) -> set[str]:
    return {one.name for one in compare(record, measured(pipeline))}


def test_a_second_run_and_one_on_another_number_of_threads_are_silent(pipeline: Pipeline, record: Measured) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert compare(record, measured(pipeline)) == ()
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def net(pipeline: Pipeline) -> Iterator[Any]:
    """The network; its weights are put back afterwards."""
    net = pipeline._model.net  # type: ignore[attr-defined]
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    yield net
    net.load_state_dict(kept)


def test_other_weights_behind_an_unchanged_card_are_found(pipeline: Pipeline, record: Measured, net: Any) -> None:
    with torch.no_grad():
        for one in net.members[0].parameters():
            one += 0.02 * one.std(correction=0) * torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    assert "embedding" in moved(pipeline, record)


def test_a_calibration_that_was_changed_is_found(pipeline: Pipeline, record: Measured, net: Any) -> None:
    net.offset += 0.2
    assert "output.Opacity.p" in moved(pipeline, record)


def test_broken_preprocessing_is_found(pipeline: Pipeline, record: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.nets import xray_triage

    with monkeypatch.context() as patch:  # within the model: another window of values
        whole = xray_triage.normalise
        patch.setattr(xray_triage, "normalise", lambda image, content: whole(image, content) ** 1.2)
        assert "embedding" in moved(pipeline, record)
    with monkeypatch.context() as patch:  # before the model: the rescale is off by one in a hundred
        values = pixels.values
        patch.setattr(pixels, "values", lambda *given: (values(*given) * 1.01).astype(np.float32))
        assert "pixels.p50" in moved(pipeline, record)


def test_a_lung_model_with_swapped_sides_is_found() -> None:
    pipeline = registry.load("ct-lung", device="cpu")
    record = golden_run.run(pipeline, SOFTWARE, CREATED)
    net = pipeline._model._net  # type: ignore[attr-defined]
    with torch.no_grad():
        for part in (net.detail_net.last.conv.weight, net.detail_net.last.conv.bias):
            part[[1, 2]] = part[[2, 1]]
    found = {one.name for one in compare(record, golden_run.run(pipeline, SOFTWARE, CREATED))}
    assert {"output.Left lung.volume", "output.Right lung.volume"} <= found


def test_the_command_prints_the_comparison_and_its_exit_code_tells(
    pipeline: Pipeline, sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = pipeline.example()
    config = tmp_path / "overread.toml"
    config.write_text(f'[node]\ndatabase = "{sqlite}"\n[work]\ndevice = "cpu"\n')
    shutil.copytree(shelf.bundled() / "cxr-triage", tmp_path / "models" / "cxr-triage")
    for module in (shelf, variants):
        monkeypatch.setattr(module, "bundled", lambda: tmp_path / "models")
    monkeypatch.setattr(CxrTriage, "example", lambda _self: study)  # made once: it takes its time
    monkeypatch.setattr(local, "measured", here)
    run = CliRunner()

    def said(*arguments: str) -> tuple[int, str]:
        done = run.invoke(app, ["golden", "cxr-triage", "-c", str(config), *arguments])
        return done.exit_code, done.output

    code, text = said()
    assert (code, "it is the record now" in text) == (0, True)
    swap(tmp_path / "models" / "cxr-triage")
    code, text = said()
    assert code == 1
    assert "NOT as on record" in text and "model.digest was" in text and "embedding moved by" in text
    assert said("--accept", "retrained on 2026-11-22")[0] == 0
    assert said()[0] == 0
    queries = open_queries(sqlite)
    assert [one.type.removeprefix("golden.") for one in queries.events("pipeline/cxr-triage")] == [
        "recorded", "mismatch", "accepted", "passed"]  # fmt: skip
    queries.dispose()


def test_the_command_refuses_what_makes_no_sense(sqlite: str, tmp_path: Path) -> None:
    config = tmp_path / "overread.toml"
    config.write_text(f'[node]\ndatabase = "{sqlite}"\n')
    for arguments, said in ((["cxr-triagee"], "did you mean 'cxr-triage'"), (["--accept", "x"], "one pipeline")):
        done = CliRunner().invoke(app, ["golden", *arguments, "-c", str(config)])
        assert said in str(done.exception)


def here(config: Config, names: tuple[str, ...], limit: float) -> tuple[Measured, ...]:
    """What the command has a process of its own do."""
    return tuple(child._warm(name, config)[1] for name in names)


def swap(folder: Path) -> None:
    """Other weights under the same name and version, with a card that fits them."""
    data = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    [name] = data.pop("weights")
    state = load((folder / name).read_bytes())
    state = {key: value * 1.05 if key.endswith("conv.weight") else value for key, value in state.items()}
    write_package(folder, data, {name: save(state)})
