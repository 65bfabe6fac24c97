from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastseg.data.sample import sample_over_scenes, scene_of


def corpus(*sizes: int) -> list[str]:
    return [f"scene_{i:04d}/d-{k:06d}" for i, size in enumerate(sizes) for k in range(size)]


def counts(chosen: list[str]) -> list[int]:
    return [number for _, number in sorted(Counter(map(scene_of, chosen)).items())]


def test_every_scene_gives_the_same_and_a_short_one_gives_all() -> None:
    assert counts(sample_over_scenes(corpus(3, 100, 50, 100), scene_of, 63, 0)) == [3, 20, 20, 20]
    assert counts(sample_over_scenes(corpus(3, 8, 50, 100), scene_of, 51, 0)) == [3, 8, 20, 20]


def test_what_is_left_goes_to_scenes_drawn_by_the_seed() -> None:
    drawn = [counts(sample_over_scenes(corpus(2, 30, 30, 30), scene_of, 13, seed)) for seed in range(40)]
    assert {tuple(one) for one in drawn} == {(2, 4, 4, 3), (2, 4, 3, 4), (2, 3, 4, 4)}


def test_fewer_frames_than_scenes_come_from_as_many_scenes() -> None:
    assert counts(sample_over_scenes(corpus(*[9] * 20), scene_of, 7, 1)) == [1] * 7


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_the_ids() -> None:
    ids = corpus(40, 7, 300)
    shuffled = [ids[i] for i in np.random.default_rng(0).permutation(len(ids))]
    once = sample_over_scenes(ids, scene_of, 60, 5)
    assert once == sorted(once) == sample_over_scenes(shuffled, scene_of, 60, 5)
    assert once != sample_over_scenes(ids, scene_of, 60, 6)


def test_all_frames_are_the_whole_corpus() -> None:
    ids = corpus(4, 1, 9)
    assert sample_over_scenes(ids, scene_of, len(ids), 3) == ids


def test_a_larger_sample_keeps_the_frames_of_each_scene() -> None:
    ids = corpus(200, 300, 10)
    assert set(sample_over_scenes(ids, scene_of, 50, 2)) < set(sample_over_scenes(ids, scene_of, 90, 2))


def test_every_frame_of_a_scene_is_as_likely() -> None:
    hits = Counter(chosen for seed in range(400) for chosen in sample_over_scenes(corpus(10), scene_of, 3, seed))
    assert len(hits) == 10 and all(75 <= number <= 170 for number in hits.values())  # 120 expected, sigma 9


def test_the_shares_of_any_corpus_are_level_and_complete() -> None:
    rng = np.random.default_rng(8)
    for _ in range(200):
        sizes = rng.integers(1, 40, rng.integers(1, 30)).tolist()
        n = int(rng.integers(1, sum(sizes) + 1))
        given = Counter(map(scene_of, sample_over_scenes(corpus(*sizes), scene_of, n, 0)))
        shares = [given[f"scene_{i:04d}"] for i in range(len(sizes))]
        assert sum(shares) == n
        unfinished = [share for share, size in zip(shares, sizes, strict=True) if share < size]
        if unfinished:
            assert max(shares) - min(unfinished) <= 1


@pytest.mark.parametrize("n", [0, -1, 13])
def test_a_sample_of_none_or_of_more_than_there_are_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"of 1 to 12 frames, as there are; got {n}"):
        sample_over_scenes(corpus(5, 7), scene_of, n, 0)


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        sample_over_scenes(["a/b", "a/b", "c/d"], scene_of, 1, 0)


def test_the_papers_sample_of_nyuv2_is_drawn_in_seconds() -> None:
    sizes = np.random.default_rng(1).integers(40, 1714, 464)
    chosen = sample_over_scenes(corpus(*sizes.tolist()), scene_of, 41_000, 0)
    assert len(chosen) == 41_000 and len(counts(chosen)) == 464
