"""Projection phantoms: the same for the same seed, with findings where they are said to be, and with letters and metal
that know nothing of them."""

from __future__ import annotations

import numpy as np
import pytest

from models.nets.xray_input import channels, letterbox, normalise, place_of
from models.training import exposure
from models.training.lesions import FINDINGS
from models.training.nodules import nodule
from models.training.plates import PLATES
from models.training.projections import Patient, project_patient
from models.training.xray_samples import SIZE, VIEWS, frontal_shot, view_shot

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def patient() -> Patient:
    return project_patient(987_000_003, lower=True)


def test_a_patient_is_always_the_same(patient: Patient) -> None:
    again = project_patient(987_000_003, lower=True)
    assert np.array_equal(patient.frontal.water, again.frontal.water)
    assert np.array_equal(patient.lateral.bone, again.lateral.bone)
    for name in FINDINGS:
        assert all(
            np.array_equal(a.water, b.water) for a, b in zip(patient.findings.get(name, ()), again.findings.get(name, ()), strict=True)
        )


def test_rays_through_a_body_are_as_long_as_bodies_are_thick(patient: Patient) -> None:
    assert 100 < np.percentile(patient.frontal.water, 99) < 450  # mm of water
    assert 0 < patient.frontal.bone.max() < 100
    rows, columns = np.nonzero(patient.lungs)
    assert patient.lungs.mean() > 0.05
    assert columns.min() < 96 < columns.max() and rows.max() - rows.min() > 40


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_rays_where_its_mask_says(patient: Patient, name: str) -> None:
    for finding in patient.findings.get(name) or [nodule(patient, np.random.default_rng(k)) for k in range(4)]:
        inside, outside = finding.water[finding.mask], finding.water[~finding.mask]
        assert finding.mask.any()
        if name == "Pneumothorax":  # air takes weight away; what is left of the lung is a little denser
            assert inside.astype(float).mean() < -1
        else:
            assert inside.astype(float).sum() > 0.5 * finding.water.astype(float).sum() > 0
            assert inside.max() >= outside.max(initial=0)


def test_images_are_the_same_for_the_same_generator_and_hold_what_their_labels_say(patient: Patient) -> None:
    a, b = (frontal_shot(patient, np.random.default_rng(5), SIZE) for _ in range(2))
    assert np.array_equal(a.image, b.image) and np.array_equal(a.masks, b.masks)
    assert a.image.dtype == np.float32 and a.image.min() >= 0 and a.image.max() <= 1
    for seed in range(8):
        shot = frontal_shot(patient, np.random.default_rng(seed), SIZE)
        assert not shot.masks[~shot.labels].any()
        assert all(mask.any() for mask in shot.masks[shot.labels])


def test_each_finding_comes_and_goes_on_its_own(patient: Patient) -> None:
    labels = np.stack([frontal_shot(patient, np.random.default_rng(seed), 32).labels for seed in range(300)])
    assert (np.abs(labels.mean(0) - 0.35) < 0.12).all()
    together = np.corrcoef(labels.T.astype(float))
    assert np.abs(together - np.eye(len(FINDINGS))).max() < 0.25


def test_letters_and_metal_know_nothing_of_the_findings(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator of the exposure is not told what is in the image: all else equal, the same tokens come out."""
    drawn: list[np.ndarray] = []
    metal = exposure.metal
    monkeypatch.setattr(exposure, "metal", lambda *a: drawn.append(metal(*a)) or drawn[-1])
    shares, marked = [], []
    for seed in range(150):
        shot = frontal_shot(patient, np.random.default_rng(seed), 64)
        marked.append(bool(drawn[-1].any()))
        shares.append(shot.labels)
    for column in np.stack(shares).astype(float).T:
        assert abs(np.corrcoef(column, marked)[0, 1]) < 0.28
    assert 0.2 < np.mean(marked) < 0.9


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_can_be_drawn(patient: Patient, name: str) -> None:
    rng = np.random.default_rng(3)
    images = [view_shot(patient, rng, 64, name)[0] for _ in range(4)]
    assert all(image.shape == (64, 64) and np.isfinite(image).all() for image in images)
    assert len({image.tobytes() for image in images}) == 4
    assert max(image.std() for image in images) > 0.02


def test_plates_hold_something() -> None:
    rng = np.random.default_rng(1)
    for makers in PLATES.values():
        for make in makers:
            assert make(rng).water.max() > 1


@pytest.mark.parametrize("shape", [(160, 160), (1, 1), (7, 900), (900, 7), (3000, 2500)])
def test_images_of_any_shape_fit_the_square_in_proportion(shape: tuple[int, int]) -> None:
    boxed, place = letterbox(np.ones(shape, np.float32), SIZE)
    assert place == place_of(*shape, SIZE)
    assert boxed.shape == (SIZE, SIZE) and np.allclose(boxed[place.part], 1)
    assert boxed.sum() == pytest.approx(place.height * place.width)


def test_the_input_does_not_depend_on_units(patient: Patient) -> None:
    image = frontal_shot(patient, np.random.default_rng(9), SIZE).image
    content = np.ones_like(image, bool)
    assert np.allclose(normalise(image, content), normalise(image * 4000 - 1234, content), atol=1e-3)
    assert not normalise(np.full((9, 9), 7.0, np.float32), np.ones((9, 9), bool)).any()
    assert channels(torch.from_numpy(image)[None]).shape == (1, 2, SIZE, SIZE)
