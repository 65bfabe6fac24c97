"""The op `decile_rank` against its definition, exactly, and the ensemble step, on every device there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseg.ops.decile_rank import REFUSED_DECILE, decile_rank, ensemble_deciles
from fastseg.reference import decile_rank as reference

Put = Callable[[Any], Any]
Float = npt.NDArray[np.float32]
SIZES = [(1, 1), (1, 9), (2, 5), (31, 33), (65, 17)]

# Maps that are hard to bin: ties, one huge score, long tails, infinities, the ends of float32's range.
KINDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Any]] = {
    "saliency": lambda rng, shape: rng.gamma(1, 1, shape),
    "signed": lambda rng, shape: rng.normal(size=shape),
    "half zeros": lambda rng, shape: np.maximum(rng.normal(size=shape), 0),
    "both zeros": lambda rng, shape: rng.choice([0.0, -0.0, 1e-45, -1e-45], shape),
    "few values": lambda rng, shape: rng.integers(0, 4, shape),
    "quantised": lambda rng, shape: rng.integers(0, 256, shape) / 255,
    "long tail": lambda rng, shape: np.exp(6 * rng.normal(size=shape)),
    "one huge score": lambda rng, shape: np.where(rng.random(shape) < 0.01, 3e38, rng.random(shape)),
    "infinities": lambda rng, shape: rng.choice([np.inf, -np.inf, 0.5, 0.25], shape) * rng.random(shape),
    "whole range": lambda rng, shape: rng.uniform(-3.4e38, 3.4e38, shape),
    "denormal": lambda rng, shape: rng.integers(-9, 9, shape) * 1e-45,
    "ramp": lambda rng, shape: np.arange(np.prod(shape)).reshape(shape),
    "constant": lambda rng, shape: np.full(shape, -2.5),
}


def made(kind: str, shape: tuple[int, ...], seed: int = 0) -> Float:
    return np.asarray(KINDS[kind](np.random.default_rng(seed), shape)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_ranks_are_those_of_the_definition(device: str, put: Put, get: Put, kind: str, size: tuple[int, int]) -> None:
    scores = made(kind, size)
    ranks = get(decile_rank(put(scores)))
    assert ranks.dtype == np.uint8 and ranks.shape == size
    np.testing.assert_array_equal(ranks, reference.decile_rank(scores))  # exact: no tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(224, 224), (375, 500)])
def test_ranks_of_whole_images_are_exact(kind: str, size: tuple[int, int]) -> None:
    scores = made(kind, size, seed=3)
    np.testing.assert_array_equal(decile_rank(scores), reference.decile_rank(scores))


def test_zero_has_no_sign(device: str, put: Put, get: Put) -> None:
    scores = np.array([[0.0, -1e-45], [-1e-45, -0.0]], np.float32)
    assert get(decile_rank(put(scores))).tolist() == [[5, 0], [0, 5]]


def test_every_decile_of_distinct_scores_has_a_tenth_of_the_pixels(device: str, put: Put, get: Put) -> None:
    scores = np.random.default_rng(1).permutation(640).reshape(20, 32).astype(np.float32)
    np.testing.assert_array_equal(np.bincount(get(decile_rank(put(scores))).ravel()), np.full(10, 64))


@settings(max_examples=2000, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(0, 33), st.integers(0, 33)), seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(KINDS)), form=st.sampled_from(["plain", "plain", "view", "strided", "double", "odd"]),
    threads=st.integers(1, 3),
)  # fmt: skip
def test_any_small_array_is_ranked_or_refused(
    shape: tuple[int, int, int], seed: int, kind: str, form: str, threads: int
) -> None:
    scores = made(kind, shape, seed)
    forms: dict[str, Callable[[], Any]] = {
        "plain": lambda: scores,
        "view": lambda: np.concatenate([np.zeros_like(scores.ravel()[:1]), scores.ravel()])[
            min(1, scores.size) :
        ].reshape(shape),
        "strided": lambda: np.repeat(scores, 2, axis=2)[:, :, ::2],
        "double": lambda: scores.astype(np.float64),
        "odd": lambda: _unaligned(scores),
    }
    given_scores = forms[form]()
    flags = given_scores.flags
    if given_scores.dtype != np.float32:
        with pytest.raises(TypeError, match="scores must be float32"):
            decile_rank(given_scores)
    elif not (flags.c_contiguous and flags.aligned):
        with pytest.raises(ValueError, match=r"scores must be float32 .* contiguous"):
            decile_rank(given_scores)
    else:
        ranks = decile_rank(given_scores, threads=threads)
        assert ranks.shape == shape
        for found, one in zip(ranks, scores, strict=True):
            np.testing.assert_array_equal(found, reference.decile_rank(one) if one.size else one)


def _unaligned(scores: Float) -> Float:
    odd = np.zeros(scores.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(scores.shape)
    odd[...] = scores
    return odd


def test_a_batch_is_its_maps_one_by_one(device: str, put: Put, get: Put) -> None:
    scores = np.stack([made(kind, (9, 31)) for kind in KINDS])
    ranks = get(decile_rank(put(scores), threads=2))
    for found, one in zip(ranks, scores, strict=True):
        np.testing.assert_array_equal(found, reference.decile_rank(one))


def test_not_a_number_is_refused_by_map(device: str, put: Put, get: Put) -> None:
    scores = made("saliency", (3, 7, 40))
    scores[1, 6, 39] = np.nan
    with pytest.raises(ValueError, match="scores must hold no NaN; map 1 of 3 does"):
        decile_rank(put(scores))
    unchecked = get(decile_rank(put(scores), check=False))
    assert (unchecked[1] == REFUSED_DECILE).all()
    np.testing.assert_array_equal(unchecked[2], reference.decile_rank(scores[2]))


@pytest.mark.parametrize("size", [(1, 1), (9, 31), (33, 65)])
@pytest.mark.parametrize("models", [1, 3, 15])
def test_the_ensemble_ranks_the_mean_of_normalised_maps(
    device: str, put: Put, get: Put, size: tuple[int, int], models: int
) -> None:
    maps = np.stack([made(kind, (2, *size)) for kind in (["saliency", "long tail", "signed"] * 5)[:models]])
    maps[0, 1] = 4.0  # a constant map adds nothing
    found = ensemble_deciles(put(maps), threads=2)
    for image in range(2):
        mean = get(found.mean)[image]
        # float32: a subtraction, a division and a sum for each model, each rounded to 2^-24 of a value below 1
        np.testing.assert_allclose(mean, reference.ensemble_mean(maps[:, image]), rtol=0, atol=models * 2e-7)
        np.testing.assert_array_equal(get(found.deciles)[image], reference.decile_rank(mean))
        assert get(found.constant)[image] == (np.ptp(mean) == 0)


def test_an_ensemble_of_constant_maps_is_called_constant(device: str, put: Put, get: Put) -> None:
    found = ensemble_deciles(put(np.stack([made("constant", (2, 5, 6))] * 3)))
    assert get(found.constant).tolist() == [True, True] and get(found.constant).dtype == bool
    assert (get(found.deciles) == 0).all() and (get(found.mean) == 0).all()


@pytest.mark.parametrize("ends", [(-3.4e38, 3.4e38), (0.0, 1e-45), (-1e-40, 1e-40), (7.0, 7.000001)])
def test_any_range_of_scores_spans_zero_to_one(device: str, put: Put, get: Put, ends: tuple[float, float]) -> None:
    maps = np.array(ends, np.float32).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(get(ensemble_deciles(put(maps)).mean), [[[0, 1]]], atol=1e-6)  # two roundings


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_ensemble_refuses_what_is_not_finite_by_model_and_image(
    device: str, put: Put, get: Put, wrong: float
) -> None:
    maps = made("saliency", (4, 3, 6, 20))
    maps[2:, 1, 5, 19] = wrong
    with pytest.raises(ValueError, match=r"maps must be finite; maps\[2, 1\] is not"):
        ensemble_deciles(put(maps))
    found = ensemble_deciles(put(maps), check=False)
    assert (get(found.deciles)[1] == REFUSED_DECILE).all() and not get(found.constant)[1]
    np.testing.assert_array_equal(get(found.deciles)[2], reference.decile_rank(get(found.mean)[2]))


def test_empty_batches_are_answered_empty(device: str, put: Put, get: Put) -> None:
    for shape in [(0, 3, 4), (2, 0, 4), (2, 3, 0)]:
        assert get(decile_rank(put(np.zeros(shape, np.float32)))).shape == shape
    found = ensemble_deciles(put(np.zeros((5, 0, 3, 4), np.float32)))
    assert get(found.deciles).shape == (0, 3, 4) and get(found.constant).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: decile_rank(np.zeros((3, 4))), TypeError, "scores must be float32"),
        (lambda: decile_rank(np.zeros(4, np.float32)), ValueError, r"scores must be float32 \(\[B\], H, W\)"),
        (lambda: decile_rank(np.zeros((3, 4), np.float32).T), ValueError, "not contiguous"),
        (lambda: decile_rank(np.zeros((3, 4), np.float32), threads=0), ValueError, "threads"),
        (lambda: ensemble_deciles(np.zeros((3, 4, 5), np.float32)), ValueError, "maps must be float32"),
        (lambda: ensemble_deciles(np.zeros((0, 1, 2, 2), np.float32)), ValueError, "at least one model"),
        (lambda: ensemble_deciles(np.zeros((2, 1, 0, 2), np.float32)), ValueError, "one pixel"),
        (lambda: decile_rank(np.broadcast_to(np.float32(0), (2**16, 2**15))), ValueError, "not contiguous"),
    ],
)
def test_unsupported_arguments_are_refused(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_repeats_are_bitwise_equal(device: str, put: Put, get: Put) -> None:
    maps = put(np.stack([made("long tail", (2, 33, 31), seed) for seed in range(3)]))
    first = [get(array) for array in ensemble_deciles(maps)]
    for _ in range(20 if device != "emu" else 2):
        for found, wanted in zip(ensemble_deciles(maps), first, strict=True):
            np.testing.assert_array_equal(get(found), wanted)


@pytest.mark.torch
def test_torch_tensors_stay_torch() -> None:
    torch = pytest.importorskip("torch")
    maps = made("signed", (3, 2, 9, 31))
    found = ensemble_deciles(torch.from_numpy(maps))
    assert found.deciles.dtype == torch.uint8 and found.constant.dtype == torch.bool
    np.testing.assert_array_equal(found.deciles.numpy(), ensemble_deciles(maps).deciles)
    np.testing.assert_array_equal(decile_rank(torch.from_numpy(maps[0])).numpy(), decile_rank(maps[0]))
