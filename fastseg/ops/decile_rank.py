"""Op `decile_rank`: score maps become exact decile ranks, alone or as the mean of an ensemble of models."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastseg.ops import arrays
from fastseg.ops.graphs import outside_graphs

REFUSED_DECILE = 255
VARIED, CONSTANT, REFUSED = 0, 1, 2  # csrc's verdicts; REFUSED + m names model m
MAX_PIXELS = 2**31 - 1


class EnsembleDeciles(NamedTuple):
    """What `ensemble_deciles` found in B images; arrays in the library and on the device of the maps.

    deciles   (B, H, W) uint8, 0..9; 255 in an image that was refused
    constant  (B,) bool, images whose mean map has one value: deciles all 0, nothing to learn from
    mean      (B, H, W) float32 in [0, 1], the mean of the normalised maps
    """

    deciles: arrays.Array
    constant: arrays.Array
    mean: arrays.Array


@outside_graphs
def decile_rank(scores: arrays.Array, *, threads: int = 1, check: bool = True) -> arrays.Array:
    """Decile ranks 0..9, uint8, of each map of scores; a constant map is 0 everywhere.

    D(x) = floor(10 Z(x) / N), Z(x) the pixels of the map with a strictly lower score, N all of them: exact, so equal
    scores share a rank (0.0 and -0.0 are equal, infinities are ranked). Nine order statistics decide it.
    scores   (H, W) or (B, H, W) float32, contiguous; numpy, torch or cupy; no gradient flows to it
    threads  maps worked on at once (CPU)
    check    True waits for the ranks and refuses NaN. False never waits, as CUDA-graph capture and busy streams need
             it: a map that holds NaN then comes back as 255 everywhere. On the CPU nothing is left to wait for.
    Returns the ranks in the shape, library and device of scores.
    Raises TypeError for another dtype, ValueError for another shape or layout and for NaN, naming the map.
    PSSL paper, section 3 (decile ranks of explanations).
    """
    sizes = arrays.check("scores", scores, "float32", ("[B]", "H", "W"))
    maps, pixels = sizes["B"], sizes["H"] * sizes["W"]
    _check_counts(pixels, threads)
    deciles = arrays.empty(scores, tuple(scores.shape), "uint8")
    verdict = arrays.empty(scores, (maps,), "int32")
    module, scratch = _scratch(scores, maps, pixels, threads)
    module.decile_rank(
        arrays.describe(scores, (maps, pixels)), arrays.describe(deciles, (maps, pixels)), arrays.describe(verdict),
        arrays.describe(scratch), arrays.stream(scores),
    )  # fmt: skip
    if check:
        for number, found in enumerate(arrays.fetched(verdict)):
            if found >= REFUSED:
                raise ValueError(f"scores must hold no NaN; map {number} of {maps} does")
    return deciles


@outside_graphs
def ensemble_deciles(maps: arrays.Array, *, threads: int = 1, check: bool = True) -> EnsembleDeciles:
    """Decile ranks of the mean over M models of their score maps, each first made to span [0, 1].

    mean(x) = 1/M sum_m (S_m(x) - min S_m) / (max S_m - min S_m), added in the models' order in float32; a model whose
    map of an image is constant adds 0. The ranks are those of `decile_rank` of that mean, exactly.
    maps            (M, B, H, W) float32, finite, contiguous; numpy, torch or cupy; no gradient flows to it
    threads, check  as in `decile_rank`; with check=False an image with a NaN or infinite score has deciles 255
    Returns EnsembleDeciles.
    Raises TypeError for another dtype, ValueError for another shape or layout, for no models or pixels, and for NaN or
    infinite scores, naming the map. PSSL paper, section 3.
    """
    sizes = arrays.check("maps", maps, "float32", ("M", "B", "H", "W"))
    models, batch, pixels = sizes["M"], sizes["B"], sizes["H"] * sizes["W"]
    _check_counts(pixels, threads)
    if models == 0 or pixels == 0:
        raise ValueError(f"maps must hold at least one model and one pixel; got {tuple(maps.shape)}")
    shape = (batch, sizes["H"], sizes["W"])
    mean, deciles = arrays.empty(maps, shape, "float32"), arrays.empty(maps, shape, "uint8")
    verdict, bounds = arrays.empty(maps, (batch,), "int32"), arrays.empty(maps, (models, batch, 2), "float32")
    module, scratch = _scratch(maps, batch, pixels, threads)
    module.ensemble_deciles(
        arrays.describe(maps, (models, batch, pixels)), arrays.describe(bounds),
        arrays.describe(mean, (batch, pixels)), arrays.describe(deciles, (batch, pixels)), arrays.describe(verdict),
        arrays.describe(scratch), arrays.stream(maps),
    )  # fmt: skip
    if check:
        for image, found in enumerate(arrays.fetched(verdict)):
            if found >= REFUSED:
                raise ValueError(f"maps must be finite; maps[{found - REFUSED}, {image}] is not")
    return EnsembleDeciles(deciles, verdict == CONSTANT, mean)


def _check_counts(pixels: int, threads: int) -> None:
    if pixels > MAX_PIXELS:
        raise ValueError(f"a map must have at most {MAX_PIXELS} pixels; got {pixels}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")


def _scratch(like: arrays.Array, maps: int, pixels: int, threads: int) -> tuple[Any, arrays.Array]:
    """The kernels for the array's device and one part of working memory for each thread."""
    module = arrays.backend(like)
    return module, arrays.scratch(like, max(1, min(threads, maps)), module.decile_rank_scratch(pixels))
