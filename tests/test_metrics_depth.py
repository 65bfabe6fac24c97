from __future__ import annotations

import numpy as np
import pytest

from fastseg.metrics_depth import GARG, DepthRules, DepthSums


def test_scores_are_those_of_the_formulas() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(1, 9, (20, 30))
    guess = truth * random.uniform(0.6, 1.6, truth.shape)
    sums = DepthSums(farthest=20)
    holes = truth.copy()
    holes[:3], holes[4, 4], holes[5, 5] = 0, np.nan, np.inf
    sums.add(holes, guess)
    kept = np.isfinite(holes) & (holes > 0)
    t, g = truth[kept], guess[kept]
    found = sums.scores()
    assert found.pixels == kept.sum()
    assert found.delta1 == pytest.approx(np.mean(np.maximum(t / g, g / t) < 1.25))
    assert found.rel == pytest.approx(np.mean(abs(t - g) / t))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((t - g) ** 2)))
    assert found.log10 == pytest.approx(np.mean(abs(np.log10(t) - np.log10(g))))
    assert found.rmse_log == pytest.approx(np.sqrt(np.mean((np.log(t) - np.log(g)) ** 2)))
    assert found.sq_rel == pytest.approx(np.mean((t - g) ** 2 / t))


def test_the_set_counts_pixels_and_not_images() -> None:
    sums = DepthSums()
    sums.add(np.full((1, 3), 2.0), np.full((1, 3), 2.0))
    sums.add(np.full((1, 1), 2.0), np.full((1, 1), 4.0))
    assert sums.scores().rel == pytest.approx(0.25)


def test_the_mean_of_images_counts_images_and_not_pixels() -> None:
    sums = DepthSums()
    sums.add(np.full((1, 3), 2.0), np.full((1, 3), 2.0))
    sums.add(np.zeros((4, 4)), np.ones((4, 4)))
    sums.add(np.full((1, 1), 2.0), np.full((1, 1), 4.0))
    assert sums.mean().rel == pytest.approx(0.5) and sums.mean().pixels == 4
    assert [each and each.rel for each in sums.images] == [0.0, None, 1.0] and sums.ratios == [1.0, 0.5]


def test_median_scaling_forgives_an_unknown_scale_and_nothing_else() -> None:
    truth = np.random.default_rng(1).uniform(2, 8, (9, 9))
    scaled, plain = DepthSums(median_scaling=True), DepthSums()
    for sums in (scaled, plain):
        sums.add(truth, truth * 0.1)
    assert scaled.scores().rmse == pytest.approx(0, abs=1e-12) and plain.scores().delta3 == 0


def test_only_the_crop_counts() -> None:
    truth, guess = np.full((375, 1242), 5.0), np.full((375, 1242), 5.0)
    guess[:153], guess[:, :44] = 50, 50
    sums = DepthSums(crop=GARG)
    sums.add(truth, guess)
    assert sums.scores().rmse == 0 and sums.scores().pixels == (371 - 153) * (1197 - 44)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        DepthSums().add(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="positive and finite"):
        DepthSums().add(np.ones((2, 2)), np.array([[1, 1], [1, np.nan]]))
    with pytest.raises(ValueError, match="no pixel"):
        DepthSums().scores()
    with pytest.raises(ValueError, match="no pixel"):
        DepthSums().mean()
    with pytest.raises(ValueError, match="0 < nearest < farthest"):
        DepthRules(nearest=5, farthest=2)
