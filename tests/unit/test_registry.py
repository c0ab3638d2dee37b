"""Pipelines are found by looking: a new one is one new file; to name them costs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import registry


def test_ct_lung_is_found() -> None:
    assert "ct-lung" in registry.names()


def test_names_are_sorted_and_found_without_importing_what_is_heavy() -> None:
    script = (
        "import sys, time; begun = time.perf_counter(); from pipelines import registry; names = registry.names();"
        "took = time.perf_counter() - begun; assert list(names) == sorted(names);"
        "heavy = {'torch', 'monai', 'highdicom', 'pipelines.ct_lung'} & set(sys.modules); assert not heavy, heavy;"
        "assert took < 1.0, took"  # 0.05 s on an idle machine
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match="no pipeline 'ct-lungs'; there are: .*ct-lung"):
        registry.load("ct-lungs")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that the registry searches in place of its own."""
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    registry._modules.cache_clear()
    yield tmp_path
    registry._modules.cache_clear()


def test_a_new_pipeline_is_one_new_file(package: Path) -> None:
    (package / "lobes.py").write_text(
        'import torch_that_is_missing\nNAME = "lobes"\ndef open_pipeline(models, device): ...\n'
    )
    (package / "volume.py").write_text('NAME = "no pipeline, for it opens none"\n')
    assert registry.names() == ("lobes",)


def test_two_files_of_one_name_are_refused_with_both(package: Path) -> None:
    for file in ("one.py", "two.py"):
        (package / file).write_text('NAME = "lobes"\ndef open_pipeline(models, device): ...\n')
    with pytest.raises(RuntimeError, match="'lobes': one and two"):
        registry.names()


CODE = """NAME = "lobes"
VERSION = "{0}"
def open_pipeline(models, device): return "{0}", models
"""


def test_two_versions_of_the_code_stand_beside_each_other_and_the_highest_that_is_not_tried_out_is_meant(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.9.0", "1.10.0"):
        (package / f"lobes_{version.replace('.', '_')}.py").write_text(CODE.format(version))
    monkeypatch.setattr("pipelines.__path__", [str(package)])
    assert registry.names() == ("lobes",)
    assert registry.load("lobes")[0] == "1.10.0"
    assert registry.load("lobes", left_out={"1.10.0"})[0] == "1.9.0"
    opened, shelf = registry.load("lobes@1.1.0+code-1.10.0", left_out={"1.10.0"})
    assert opened == "1.10.0" and shelf._only == "1.1.0", "whoever names it gets it"
    with pytest.raises(KeyError, match="no version 2 of the code of 'lobes'; there are: 1.10.0, 1.9.0"):
        registry.load("lobes@code-2")
    (package / "again.py").write_text(CODE.format("1.9.0"))
    registry._modules.cache_clear()
    with pytest.raises(RuntimeError, match="'lobes 1.9.0': again and lobes_1_9_0"):
        registry.names()


@pytest.mark.parametrize(
    ("version", "parts"),
    [("1.1.0", ("1.1.0", None)), ("code-2.0", (None, "2.0")), ("1.1.0+code-2.0", ("1.1.0", "2.0")), (None, (None, None))],
)  # fmt: skip
def test_a_version_is_of_the_model_of_the_code_or_of_both(
    version: str | None, parts: tuple[str | None, str | None]
) -> None:
    assert registry.parts(version) == parts and registry.joined(*parts) == version


@pytest.mark.parametrize(
    ("version", "other", "over"),
    [("1.1.0", "1.0.0", "1.1.0"), ("1.1.0", "code-2.0", "1.1.0+code-2.0"), (None, "1.0.0", "1.0.0"),
     ("code-3.0", "1.0.0+code-2.0", "1.0.0+code-3.0"), ("1.1.0", None, "1.1.0"), (None, None, None)],
)  # fmt: skip
def test_what_a_version_leaves_open_is_as_another_says(
    version: str | None, other: str | None, over: str | None
) -> None:
    assert registry.over(version, other) == over


@pytest.mark.parametrize("module", ["pipelines.base", "pipelines.study", "pipelines.match", "pipelines.registry",
                                    "pipelines.volume", "pipelines.outputs.identity"])  # fmt: skip
def test_what_the_listener_may_import_brings_neither_torch_nor_highdicom(module: str) -> None:
    script = (
        f"import sys, {module}; heavy = {{'torch', 'monai', 'highdicom'}} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
