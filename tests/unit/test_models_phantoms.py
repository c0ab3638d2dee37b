"""Phantoms: made-up patients with known lungs."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.canvas import GUT_GAS, LEFT, RIGHT, Steps, smooth_noise
from models.training.draws import Draws
from models.training.phantoms import SCANS, Phantom, chest_phantom, random_scan, render
from models.training.samples import make_sample
from models.training.splits import patient_seeds, split_patients

SHAPE, SPACING = (64, 96, 96), (5.0, 4.0, 4.0)


def small(seed: int, **variation: object) -> Phantom:
    return chest_phantom(seed, SHAPE, SPACING, **variation)


def test_the_same_seed_is_the_same_patient_and_another_seed_another() -> None:
    a, b, c = small(5), small(5), small(6)
    assert np.array_equal(a.hu, b.hu) and np.array_equal(a.labels, b.labels)
    assert not np.array_equal(a.hu, c.hu)


def test_a_phantom_has_the_shape_types_and_spacing_that_were_asked_for() -> None:
    p = small(1)
    assert p.hu.shape == p.labels.shape == SHAPE and p.spacing == SPACING
    assert p.hu.dtype == np.int16 and p.labels.dtype == np.uint8
    assert set(np.unique(p.labels)) == {0, 1, 2}


@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_the_left_lung_lies_on_the_patients_left_and_both_have_a_human_size(seed: int) -> None:
    p = small(
        seed,
        posture="supine",
        quarter_turn=0.0,
        lung_type="normal",
        effusion_left=False,
        effusion_right=False,
        collapse_left=False,
        collapse_right=False,
    )
    x = np.arange(SHAPE[2])
    columns = {v: float((x * (p.labels == v).sum((0, 1))).sum() / (p.labels == v).sum()) for v in (1, 2)}
    assert columns[1] > columns[2] + 15
    for value in (1, 2):
        litres = (p.labels == value).sum() * np.prod(SPACING) / 1e6
        assert 0.5 < litres < 5.0
        assert -960 < p.hu[p.labels == value].mean() < -550


def test_lungs_are_dark_and_effusions_are_not_lung() -> None:
    dry, wet = (small(21, effusion_right=e, effusion_size_right=0.35, posture="supine") for e in (False, True))
    assert (wet.labels == 2).sum() < 0.75 * (dry.labels == 2).sum()
    assert np.median(wet.hu[wet.labels > 0]) < -600


def test_a_prone_patient_lies_on_the_front_and_a_turned_one_keeps_the_sides_of_the_body() -> None:
    p = small(9, posture="prone", quarter_turn=0.0)
    assert p.facts["posture"] == "prone"
    turned = small(9, quarter_turn=float(np.pi))
    x = np.arange(SHAPE[2])
    left = float((x * (turned.labels == 1).sum((0, 1))).sum() / (turned.labels == 1).sum())
    right = float((x * (turned.labels == 2).sum((0, 1))).sum() / (turned.labels == 2).sum())
    assert left < right


def test_a_misspelt_variation_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="effusion_lefft"):
        small(1, effusion_lefft=True)


def test_one_patient_on_two_grids_has_the_same_lungs() -> None:
    coarse = render(Draws(31), -200.0, (60, 80, 80), (5.0, 5.0, 5.0))
    fine = render(Draws(31), -200.0, (100, 160, 160), (3.0, 2.5, 2.5))
    volumes = [[float((p.labels == v).sum() * np.prod(p.spacing)) for v in (1, 2)] for p in (coarse, fine)]
    assert np.allclose(volumes[0], volumes[1], rtol=0.08)


def test_an_abdomen_without_chest_holds_gas_and_no_lung() -> None:
    draws = Draws(41, {"scan": "abdomen", "test_object": False, "loop_gas": 0.8, "colon_gas": 0.95})
    p = render(draws, -560.0, (50, 80, 96), (5.0, 5.0, 5.0))
    assert not p.labels.any()
    assert (p.kinds == GUT_GAS).sum() > 100


def test_scans_of_every_kind_are_drawn_and_have_a_length() -> None:
    names = set()
    for seed in range(150):
        draws = Draws(seed)
        bottom, top = random_scan(draws)
        assert 25 < top - bottom < 900
        names.add(draws.facts["scan"])
    assert names == set(SCANS)


def test_a_sample_joins_a_whole_scan_and_details_of_the_same_patient() -> None:
    s = make_sample(3, pixels=96, slices=3)
    assert s.hu.shape == s.kinds.shape and s.detail_hu.shape == s.detail_labels.shape
    assert [len(p) for p in s.places] == list(s.detail_hu.shape)
    # Where the detail is well inside a lung, the whole scan is the same lung.
    nearest = np.ix_(*(np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip(s.places, s.kinds.shape, strict=True)))
    for value, kind in ((1, LEFT), (2, RIGHT)):
        here = s.detail_labels == value
        if here.sum() > 200:
            assert (s.kinds[nearest][here] == kind).mean() > 0.6


def test_noise_depends_on_position_only_and_has_unit_deviation() -> None:
    rng = np.random.default_rng
    long, short = (np.arange(0.0, n, 4.0) for n in (200, 100))
    a, b = (smooth_noise(rng(1), 12.0, (p, long, long)) for p in (long, short))
    assert np.allclose(a[: len(short)], b, atol=1e-5)
    assert 0.7 < float(a.std()) < 1.3


def test_interpolation_between_grids_is_exact_on_straight_lines() -> None:
    coarse, fine = np.arange(0.0, 31.0, 3.0), np.linspace(0.5, 29.5, 40)
    values = np.stack([2 * coarse + 1] * 2)
    assert np.allclose(Steps.between(coarse, fine).along(values, 1), 2 * fine + 1, atol=1e-4)


def test_no_phantom_of_one_part_is_a_phantom_of_another() -> None:
    parts = [set(patient_seeds(s, p)) for s in (0, 1) for p in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_patients_keep_their_part_when_others_join() -> None:
    few = split_patients([f"p{i}" for i in range(50)])
    many = split_patients([f"p{i}" for i in range(500)])
    assert all(many[p] == part for p, part in few.items())
    assert 0.7 < sum(v == "train" for v in many.values()) / 500 < 0.9
    with pytest.raises(ValueError, match="sum to 1"):
        split_patients(["a"], (0.5, 0.1, 0.1))
