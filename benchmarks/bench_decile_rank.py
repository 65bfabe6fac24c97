"""Times `decile_rank` beside every other way to the same ranks: `python -m benchmarks.bench_decile_rank [--json F]`.

Each contestant turns a float32 score map into uint8 deciles, ties sharing a rank; all must equal the reference exactly
before any is timed (the ensemble step: equal ranks of their own mean). Cases: one map at 224x224 and 375x500, with and
without ties; a batch of maps on 1 and 2 threads; larger maps; the mean of 15 models' maps with its ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.timing import Row, keep_rows, one_thread, print_rows, race
from fastseg.cli import run
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles
from fastseg.reference import decile_rank as reference

Float = npt.NDArray[np.float32]
Ranker = Callable[[Float], Any]
MODELS = 15


@dataclass(frozen=True)
class Config:
    """What to measure."""

    repeats: int = 41  # timed calls of each contestant
    budget_s: float = 3.0  # a contestant that has used this much sits out after three calls
    batch: int = 32  # maps of the batch case
    json: Path | None = None
    plot: Path | None = None


def border_places(pixels: int) -> npt.NDArray[np.int64]:
    """The places in the ascending order of the nine values that part ten deciles."""
    return -(-np.arange(1, 10) * pixels // 10) - 1


def numpy_sort(scores: Float) -> Any:
    """The nine order statistics of a full sort, then nine comparisons of the whole map."""
    return compared(scores, np.sort(scores, axis=None)[border_places(scores.size)])


def numpy_partition(scores: Float) -> Any:
    """As `numpy_sort`, by one partition at nine places."""
    places = border_places(scores.size)
    return compared(scores, np.partition(scores, places, axis=None)[places])


def compared(scores: Float, borders: Float) -> Any:
    """How many borders lie below each score: on a whole map faster than searchsorted and digitize."""
    ranks = np.zeros(scores.shape, np.uint8)
    for border in borders:
        ranks += scores > border
    return ranks


def numpy_sort_searchsorted(scores: Float) -> Any:
    """A full sort, then each score's place among the nine borders by bisection."""
    borders = np.sort(scores, axis=None)[border_places(scores.size)]
    return np.searchsorted(borders, scores.ravel()).astype(np.uint8).reshape(scores.shape)


def numpy_argsort(scores: Float) -> Any:
    """Ranks by argsort, ties given the first one's."""
    flat = scores.ravel()
    order = np.argsort(flat)
    ascending = flat[order]
    first = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    lower = np.empty(flat.size, np.int64)
    lower[order] = np.repeat(first, np.diff(first, append=flat.size))
    return (10 * lower // flat.size).astype(np.uint8).reshape(scores.shape)


def scipy_rankdata(scores: Float) -> Any:
    """scipy.stats.rankdata with the lowest rank of a tie."""
    from scipy.stats import rankdata

    lower = rankdata(scores, "min") - 1
    return (10 * lower.astype(np.int64) // scores.size).astype(np.uint8).reshape(scores.shape)


def torch_sort(scores: Any) -> Any:
    """torch.sort, then bucketize; a tensor is ranked where it lies."""
    import torch

    x = torch.as_tensor(scores)
    borders = x.flatten().sort().values[torch.as_tensor(border_places(x.numel()))]
    return torch.bucketize(x, borders).to(torch.uint8)


def torch_kthvalue(scores: Any) -> Any:
    """torch.kthvalue nine times, then bucketize."""
    import torch

    x = torch.as_tensor(scores)
    borders = torch.stack([x.flatten().kthvalue(int(k) + 1).values for k in border_places(x.numel())])
    return torch.bucketize(x, borders).to(torch.uint8)


PEERS: Mapping[str, Ranker] = {
    "numpy_sort": numpy_sort, "numpy_partition": numpy_partition, "numpy_sort_searchsorted": numpy_sort_searchsorted,
    "numpy_argsort": numpy_argsort, "scipy_rankdata": scipy_rankdata, "torch_sort": torch_sort,
    "torch_kthvalue": torch_kthvalue,
}  # fmt: skip


def saliency(shape: tuple[int, ...], seed: int = 0) -> Float:
    """Scores like an explanation's: positive, most of them small, neighbours alike."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).gamma(1.0, 1.0, shape)
    return np.asarray(gaussian_filter(noise, (0,) * (len(shape) - 2) + (2, 2)) ** 4, np.float32)


def raced(case: str, scores: Float, peers: Mapping[str, Ranker], config: Config, threads: int = 1) -> list[Row]:
    """The rows of one case, each contestant's share of wrong pixels beside it; AssertionError unless all are 0."""
    contestants: dict[str, Ranker] = {"fastseg": partial(decile_rank, threads=threads), **peers}
    wanted = np.stack([reference.decile_rank(one) for one in scores.reshape(-1, *scores.shape[-2:])])
    wrong = {
        name: float((np.asarray(rank(scores)).reshape(wanted.shape) != wanted).mean())
        for name, rank in contestants.items()
    }
    if any(wrong.values()):
        raise AssertionError(f"{case}: not the ranks of the definition: {wrong}")
    calls: dict[str, Callable[[], object]] = {name: partial(rank, scores) for name, rank in contestants.items()}
    return race(case, calls, threads=threads, repeats=config.repeats, budget_s=config.budget_s, errors=wrong)


def one_by_one(rank: Ranker) -> Ranker:
    """A peer that knows single maps, over a batch."""
    return lambda scores: np.stack([np.asarray(rank(one)) for one in scores])


def numpy_ensemble(maps: Float) -> tuple[Any, Float]:
    """The fused step by numpy: each model's map to [0, 1], their mean, `numpy_sort` of each image."""
    low, high = maps.min((2, 3), keepdims=True), maps.max((2, 3), keepdims=True)
    mean = ((maps - low) / (high - low)).mean(0)
    return one_by_one(numpy_sort)(mean), mean


def torch_ensemble(maps: Float) -> tuple[Any, Any]:
    """The fused step by torch operations."""
    import torch

    x = torch.as_tensor(maps)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    mean = ((x - low) / (high - low)).mean(0)
    return torch.stack([torch_sort(one) for one in mean]), mean


def ensemble_rows(size: tuple[int, int], batch: int, config: Config, threads: int) -> list[Row]:
    """The rows of the ensemble step; AssertionError unless each contestant's ranks are those of its own mean."""
    maps = saliency((MODELS, batch, *size))
    contestants: dict[str, Callable[[Float], Any]] = {
        "fastseg": lambda x: (lambda found: (found.deciles, found.mean))(ensemble_deciles(x, threads=threads)),
        "numpy_sort": numpy_ensemble,
        "torch_sort": torch_ensemble,
    }
    mean = np.stack([reference.ensemble_mean(maps[:, image]) for image in range(batch)])
    off = {}
    for name, step in contestants.items():
        ranks, own = map(np.asarray, step(maps))
        off[name] = float(np.abs(own - mean).max())
        if off[name] > 1e-5 or any((reference.decile_rank(m) != r).any() for m, r in zip(own, ranks, strict=True)):
            raise AssertionError(f"ensemble: {name} does not agree with the reference")
    case = f"ensemble of {MODELS}, {batch}x{size[0]}x{size[1]}"
    calls: dict[str, Callable[[], object]] = {name: partial(step, maps) for name, step in contestants.items()}
    return race(case, calls, threads=threads, repeats=config.repeats, budget_s=config.budget_s, errors=off)


def main(config: Config) -> int:
    """0 after printing (and writing) every case; AssertionError when a contestant's ranks are wrong."""
    rows: list[Row] = []
    for size in ((224, 224), (375, 500)):
        rows += raced(f"{size[0]}x{size[1]}", saliency(size), PEERS, config)
        ties = np.round(saliency(size) / saliency(size).max() * 255).astype(np.float32)
        rows += raced(f"{size[0]}x{size[1]} ties", ties, PEERS, config)
    strongest = {name: PEERS[name] for name in ("numpy_sort", "numpy_partition", "torch_sort")}
    for threads in (1, 2):
        batch = saliency((config.batch, 224, 224))
        peers = {name: one_by_one(rank) for name, rank in strongest.items()}
        rows += raced(f"{config.batch}x224x224", batch, peers, config, threads)
        rows += ensemble_rows((224, 224), 4, config, threads)
    for size in ((64, 64), (480, 640), (1080, 1920)):
        rows += raced(f"{size[0]}x{size[1]}", saliency(size), strongest, config)
    print_rows(rows)
    keep_rows("decile_rank", rows, config.json, config.plot)
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
