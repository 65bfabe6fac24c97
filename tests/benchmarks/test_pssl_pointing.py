"""The pointing game's scores: of a map that is the mask, of its opposite, of none."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pssl_pointing import SCORES, compared, gain, scores

pytestmark = pytest.mark.torch


def _mask() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    mask = np.zeros((20, 20), np.uint8)
    mask[4:8, 5:15] = 1  # a tenth of the picture
    return mask


def test_a_map_of_the_mask_scores_one_and_its_opposite_nothing() -> None:
    ramp = np.linspace(0, 0.1, 400, dtype=np.float32).reshape(20, 20)  # so that no two pixels tie
    assert scores(_mask() + ramp, _mask()) == (1.0, 1.0, 1.0, 1.0)
    assert scores(ramp - _mask(), _mask()) == (0.0, 0.0, 0.0, 0.0)


def test_a_map_of_chance_covers_the_mask_as_chance_does() -> None:
    noise = np.random.default_rng(0).random((200, 20, 20), np.float32)
    found = dict(zip(SCORES, np.mean([scores(one, _mask()) for one in noise], 0), strict=True))
    assert found["pointing"] == pytest.approx(0.1, abs=0.07) and found["auc"] == pytest.approx(0.5, abs=0.02)
    assert found["top_decile"] == pytest.approx(0.1, abs=0.02)


def test_models_with_noise_of_their_own_are_better_together() -> None:
    rng = np.random.default_rng(1)
    masks = np.repeat(_mask()[None], 20, 0)
    maps = (0.5 * masks[:, None] + rng.random((20, 3, 20, 20))).astype(np.float32)
    rows = compared(maps, masks)
    assert [len(row["each"]) for row in rows] == [3, 3, 1]
    assert rows[0]["mean"]["auc"] < rows[1]["mean"]["auc"] < rows[2]["mean"]["auc"]
    found = gain(maps, masks)["auc"]
    assert found["mean"] == pytest.approx(rows[2]["mean"]["auc"] - rows[0]["mean"]["auc"]) and found["error"] > 0
