"""`decile_rank` on a GPU: exactly torch's ranks, then batches of maps and the ensemble step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastseg.ops.decile_rank import decile_rank, ensemble_deciles

from benchmarks.device_race import Call, gpu_race, over
from benchmarks.floors import decile_rank_work
from benchmarks.rows import OURS, Row

COPIES = 4  # inputs that successive calls work on in turn, so that none lies in the cache
SIZES = ((256, 224, 224), (64, 375, 500), (16, 1080, 1920))
ENSEMBLE = (15, 16, 224, 224)


def torch_ranks(scores: Any) -> Any:
    """The deciles of maps (B, H, W) by one batched sort and nine borders."""
    import torch

    flat = scores.flatten(1)
    pixels = flat.shape[1]
    places = -(-torch.arange(1, 10, device=flat.device) * pixels // 10) - 1
    borders = flat.sort(1).values[:, places]
    return torch.searchsorted(borders, flat).to(torch.uint8).view(scores.shape)


def torch_ensemble(maps: Any) -> Any:
    """The deciles of the mean of min-max normalised maps (M, B, H, W)."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return torch_ranks(((maps - low) / (high - low)).mean(0))


def decile_rank_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of `decile_rank`; AssertionError unless the ranks are exactly torch's."""
    import torch

    rows: list[Row] = []
    torch.manual_seed(0)
    for size in SIZES:
        maps = [torch.rand(size, device="cuda") ** 4 for _ in range(COPIES)]
        maps[0][0] = (maps[0][0] * 16).floor()  # ties
        wrong = float((decile_rank(maps[0]) != torch_ranks(maps[0])).float().mean())
        assert wrong == 0, f"{size}: {wrong:.2%} of the ranks are not torch's"
        compiled = torch.compile(torch_ranks)
        calls: dict[str, Call] = {
            OURS: over(partial(decile_rank, check=False), maps),
            "torch_sort": over(torch_ranks, maps),
            "compile": over(compiled, maps),
        }
        case = "x".join(map(str, size))
        work = decile_rank_work(case)
        assert work is not None
        rows += gpu_race(case, calls, rates, frames=size[0], moved=work.bytes, errors={OURS: wrong})
    return rows + ensemble_rows(rates)


def ensemble_rows(rates: Mapping[str, float]) -> list[Row]:
    """The rows of the fused ensemble step; its mean may round otherwise, so a rank in a thousand may differ by one."""
    import torch

    maps = [torch.rand(ENSEMBLE, device="cuda") for _ in range(COPIES)]
    apart = (ensemble_deciles(maps[0]).deciles.int() - torch_ensemble(maps[0]).int()).abs()
    wrong = float((apart > 0).float().mean())
    assert int(apart.max()) <= 1 and wrong <= 1e-3, f"ensemble: {wrong:.2%} of the ranks are not torch's"
    calls: dict[str, Call] = {
        OURS: over(partial(ensemble_deciles, check=False), maps),
        "torch_sort": over(torch_ensemble, maps),
    }
    case = f"ensemble of {ENSEMBLE[0]}, {'x'.join(map(str, ENSEMBLE[1:]))}"
    work = decile_rank_work(case)
    assert work is not None
    return gpu_race(case, calls, rates, frames=ENSEMBLE[1], moved=work.bytes, errors={OURS: wrong})
