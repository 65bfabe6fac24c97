"""Part `sensor` of `benchmarks.monodepth_real`: depth in metres, taught by a depth camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.clip_scores import Predict, agreement, tensor_of
from benchmarks.monodepth_runs import LOOP, OPTIM, protocol, trained, variant
from fastseg.data.unlabelled import MeasuredImages
from fastseg.methods import parse_size
from fastseg.methods.monodepth import ClipConfig, DepthConfig, Monodepth
from fastseg.methods.segment import FewFrames
from fastseg.pictures import Picture, depth_picture, resized

TRAINED, HELD = 100, 20
Floats = npt.NDArray[np.float32]
Found = tuple[dict[str, Any], Sequence[Picture]]


def sensor(data: Path, runs: Path, network: str, steps: int, init_from: str) -> Found:
    """What the first 100 kitchen frames teach of the last 20, against the depth camera; pictures of four.

    The median of a place over the frames trained on (`median_map`) and of all of them (`constant`) stand beside it.
    """
    out = runs / f"sensor{variant(network, init_from)}"
    method = Monodepth(
        "sensor", root=str(data / "rgbd_redkitchen"), out=out, clips=ClipConfig("frames", "7scenes"), network=network,
        size="64x96", steps=steps, batch=8, init_from=init_from, resume=True,
        depth=DepthConfig(nearest=0.3, farthest=8.0),
        optim=OPTIM, loop=LOOP,
    )  # fmt: skip
    every = method.examples()
    assert isinstance(every, MeasuredImages)
    shown = FewFrames(every, tuple(range(TRAINED)))
    before, after = trained(method, shown)
    size = parse_size(method.size)
    held = [(every[index][0], every.depth(index)) for index in range(len(every) - HELD, len(every))]
    pictures, depths = [each for each, _ in held], [each for _, each in held]
    known = np.stack([shown.depth(index)[::5, ::5] for index in range(TRAINED)])
    known[known <= 0] = np.nan
    constant = torch.full((1, *size), float(np.nanmedian(known)))
    place = torch.from_numpy(np.nan_to_num(np.nanmedian(known, axis=0), nan=float(constant[0, 0, 0])))[None]
    claims = {
        "before": before.depth,
        "after": after.depth,
        "constant": lambda _: constant,
        "median_map": lambda _: place,
    }
    scored = {
        name: agreement(pictures, depths, size, claim, median=False, farthest=8.0) for name, claim in claims.items()
    }
    frames = f"frames 0-{TRAINED - 1} of {len(every)}; measured on the last {HELD}"
    return {"trained": protocol(method, frames), **scored}, [
        _row(*held[index], after.depth, size) for index in (0, 6, 12, 18)
    ]


def _row(picture: Picture, depth: Floats, predict: Predict, size: tuple[int, int]) -> Picture:
    """The picture, its measured and its predicted depth, side by side and on one scale."""
    found = predict(tensor_of(picture, size))[0].numpy()
    rows, columns = (((np.arange(n) + 0.5) * whole / n).astype(int) for n, whole in zip(size, depth.shape, strict=True))
    measured = depth[rows[:, None], columns]
    painted = depth_picture(np.concatenate([measured, found], 1))
    return np.concatenate([resized(picture, *size, smooth=True), painted], 1)
