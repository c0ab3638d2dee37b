"""Maps must come from what a network has learned: the sanity check lets real methods pass and refuses drawings of the
image; a card that says a method failed shuts it off."""

from __future__ import annotations

import dataclasses
import itertools
from types import MappingProxyType

import numpy as np
import pytest
import torch

from models import check_explanations, explain
from models.errors import ModelError
from models.nets.xray_input import Place
from models.nets.xray_triage import XrayTriage
from models.radiographs import LoadedClassifier
from models.shelf import Shelf
from models.training.projections import project_patient
from models.training.xray_samples import frontal_shot


@pytest.fixture(scope="module")
def model() -> LoadedClassifier:
    return Shelf().load("cxr-triage", device="cpu")


@pytest.fixture(scope="module")
def images(model: LoadedClassifier) -> torch.Tensor:
    """With every finding: of one that is not there the map is rightly empty."""
    patient = project_patient(987_000_101, lower=False, coarse=1.4)
    shots = [frontal_shot(patient, np.random.default_rng(seed), model.net.size, share=1.0) for seed in range(4)]
    return torch.from_numpy(np.stack([shot.image for shot in shots]))


@pytest.fixture(scope="module")
def tiny() -> XrayTriage:
    torch.manual_seed(1)
    return XrayTriage(
        ["a", "b"], ["frontal", "inverted"], size=64, members=2, init_features=4, growth_rate=4, blocks=[2, 2]
    ).eval()


def test_the_maps_of_the_bundled_model_change_with_its_weights(model: LoadedClassifier, images: torch.Tensor) -> None:
    found = explain.sanity_check(model.net, images, [0, 1, 2, 3], "grad-cam", seeds=(0,))
    assert found["passed"] and found["all"] <= explain.LIMIT
    assert next(iter(found["likeness"])) == "class_layers.out"
    assert list(found["likeness"])[-1] == "features.conv0"


def edges(net: XrayTriage, x: torch.Tensor, label: int) -> torch.Tensor:
    return x.diff(dim=1, prepend=x[:, :1]).abs() + x.diff(dim=2, prepend=x[:, :, :1]).abs()


@pytest.mark.parametrize(
    "method",
    [edges, lambda net, x, label: x, lambda net, x, label: torch.ones_like(x)],
    ids=["edges", "image", "constant"],
)
def test_a_method_that_shows_the_image_or_nothing_is_refused(
    tiny: XrayTriage, images: torch.Tensor, method: explain.Method
) -> None:
    found = explain.sanity_check(tiny, images[:2, ::2, ::2], [0, 1], method, seeds=(0,))
    assert not found["passed"]
    assert found["all"] == pytest.approx(1.0)


def test_randomising_leaves_the_network_itself_alone_and_goes_from_the_top_down(tiny: XrayTriage) -> None:
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    changed = []
    for _, copy in explain.cascade(tiny):
        state = copy.state_dict()
        changed.append({name for name, value in before.items() if not torch.equal(value, state[name])})
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert all(first <= then for first, then in itertools.pairwise(changed))
    assert changed[0] == {f"members.{k}.class_layers.out.{part}" for k in (0, 1) for part in ("weight", "bias")}
    assert any("conv0" in name for name in changed[-1])


@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_gives_a_map_of_the_square_from_zero_to_one(tiny: XrayTriage, method: str) -> None:
    x = torch.rand(2, 64, 64)
    found = explain.explain(tiny, x, 1, method)
    assert found.shape == (2, 64, 64) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    assert all(parameter.requires_grad for parameter in tiny.parameters())


def test_grad_cam_hooks_do_not_stay_on_the_network(tiny: XrayTriage) -> None:
    explain.explain(tiny, torch.rand(1, 64, 64), 0, "grad-cam")
    assert not any(module._forward_hooks or module._backward_hooks for module in tiny.modules())


def test_a_map_comes_back_to_the_place_of_the_image() -> None:
    found = np.zeros((64, 64), np.float32)
    found[20:24, 40:44] = 1  # on a square on which the image has columns 16 to 47
    back = explain.on_image(found, Place(0, 16, 64, 32), (640, 320))
    assert back.shape == (640, 320)
    row, column = np.unravel_index(int(back.argmax()), back.shape)
    assert 200 <= row < 240 and 240 <= column < 280


def card_with(model: LoadedClassifier, **said: object) -> LoadedClassifier:
    card = dataclasses.replace(model.card, explanations=MappingProxyType({"grad-cam": said} if said else {}))
    return LoadedClassifier(card, model.net, model.runtime)


def test_a_method_that_has_failed_or_was_not_checked_is_refused_with_the_reason(model: LoadedClassifier) -> None:
    image = np.random.default_rng(1).random((70, 90)).astype(np.float32)
    with pytest.raises(ModelError, match=r"'grad-cam' has failed its sanity check.*0\.93.*use another method"):
        card_with(model, passed=False, all=0.93, limit=0.5).explain(image, "Nodule")
    with pytest.raises(ModelError, match="says nothing about the sanity check"):
        card_with(model).explain(image, "Nodule")
    with pytest.raises(ModelError, match="no method 'drawing'; there is: grad-cam"):
        model.explain(image, "Nodule", "drawing")
    with pytest.raises(ModelError, match="no label 'Fracture'"):
        model.explain(image, "Fracture")


def test_the_card_tells_what_was_found_of_every_method(model: LoadedClassifier) -> None:
    assert set(model.card.explanations) == set(explain.METHODS)
    assert model.card.explanations["grad-cam"]["passed"]
    for said in model.card.explanations.values():
        assert said["passed"] == (said["all"] <= said["limit"])


def test_an_installed_package_is_checked_again(model: LoadedClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_explanations.problems(model) == []
    monkeypatch.setitem(explain.METHODS, "grad-cam", edges)
    [line] = check_explanations.problems(model)
    assert "'grad-cam' fails its sanity check" in line and "the limit is 0.5" in line
