"""Training: the loss falls, the best weights are kept, the package that comes out loads again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.nets.two_views import TwoViews
from models.training import fit
from models.training.evaluate import dice
from models.training.samples import Sample, SampleMaker, make_sample


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(2, pixels=96, slices=3, coarse=9.0)


def losses(part: torch.nn.Module, step: Callable[[], torch.Tensor], count: int) -> list[float]:
    """Plain steps, counted instead of timed, so that a busy machine learns as much as an idle one."""
    optimiser = torch.optim.AdamW(part.parameters(), lr=1e-2)
    out = []
    for _ in range(count):
        loss = step()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        out.append(float(loss.detach()))
    return out


def test_the_whole_views_loss_falls_on_one_patient(sample: Sample) -> None:
    torch.manual_seed(0)
    net, rng = TwoViews(whole=(16, 16, 16, 16), detail=(8, 8, 8, 8)), np.random.default_rng(0)
    seen = losses(net.whole_net, lambda: fit.whole_step(net, rng, sample, longest=48), 25)
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:3])


def test_the_details_loss_falls_on_one_patient(sample: Sample) -> None:
    torch.manual_seed(0)
    net, rng = TwoViews(whole=(8, 8, 8, 8), detail=(8, 8, 8, 8)), np.random.default_rng(0)
    hints = np.zeros((3, *sample.hu.shape), np.float16)
    seen = losses(net.detail_net, lambda: fit.detail_step(net, rng, [(sample, hints)], pixels=64), 40)
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:3])


def test_the_best_weights_are_kept_and_a_fit_without_progress_stops_early() -> None:
    part = torch.nn.Linear(1, 1, bias=False)
    scores = iter([0.1, 0.9, *[0.2] * 50])
    at_best: list[float] = []

    def score() -> float:
        value = next(scores)
        if value == 0.9:
            at_best.append(float(part.weight.detach()))
        return value

    progress = fit.fit(part, lambda: (part.weight**2).sum(), score, 60.0, lambda _: None, check_every=0.01, patience=3)
    assert progress.stopped == "early" and progress.best == 0.9
    assert float(part.weight.detach()) == pytest.approx(at_best[0])


def test_a_loss_that_is_not_a_number_ends_the_fit_with_an_error() -> None:
    part = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="finite"):
        fit.fit(part, lambda: part.weight.sum() * float("nan"), lambda: 0.0, 30.0, lambda _: None)


def test_random_crops_fit_the_network_and_keep_image_and_truth_together(sample: Sample) -> None:
    net = TwoViews()
    for seed in range(25):
        hu, truth = fit.whole_crop(np.random.default_rng(seed), sample, 40)
        assert hu.shape == truth.shape and hu.dtype == np.float32
        assert all(n % net.multiple[0] == 0 for n in hu.shape) and hu.shape[0] <= 48
        lung = (truth == 1) | (truth == 2)
        if lung.sum() > 500:
            assert hu[lung].mean() < hu[truth == 5].mean() - 200


def test_hints_are_placed_where_the_detail_lies(sample: Sample) -> None:
    hints = np.stack([(sample.kinds == k).astype(np.float16) for k in (1, 2, 3)])
    placed = fit.place_hints(hints, sample.places)
    assert placed.shape == (3, 3, *sample.detail_labels.shape[1:])
    for value in (1, 2):
        here = sample.detail_labels == value
        if here.sum() > 300:
            assert placed[:, value - 1][here].mean() > 0.5


def test_dice_of_equal_disjoint_and_empty_masks() -> None:
    a = np.array([True, True, False])
    assert dice(a, a) == 1.0 and dice(a, ~a) == 0.0 and dice(~a & a, ~a & a) == 1.0
    assert dice(a, np.array([True, False, False])) == pytest.approx(2 / 3)


def test_samples_come_from_processes_of_their_own_and_these_end() -> None:
    with SampleMaker(first=50) as maker:
        got: list[Sample] = []
        for _ in range(6):
            got += maker.ready(wait=30.0)
            if got:
                break
        children = list(maker.processes)
    assert got and got[0].seed == 50
    assert not any(p.is_alive() for p in children)
