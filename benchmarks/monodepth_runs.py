"""Training runs of `benchmarks.monodepth_real`: trained or gone on with, before and after, and as pictures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.clip_scores import Chosen, Learned, pairs
from fastseg.checkpoint import load
from fastseg.frames import LabelledImages
from fastseg.inference import restored
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.monodepth import Monodepth
from fastseg.ops.photometric import warp
from fastseg.pictures import Picture, depth_picture
from fastseg.train import fit

LOOP = LoopConfig(device="cpu", workers=0, threads=1, save_every=25)
OPTIM = OptimConfig(lr=5e-4, optimizer="adamw", weight_decay=0.0, schedule="cosine", warmup=20)


def variant(network: str, init_from: str) -> str:
    """What a run with another network or start than skip/resnet18 from random weights adds to its names."""
    other = "" if network == "skip/resnet18" else f"-{network.replace('/', '-')}"
    return other + ("-pretrained" if init_from else "")


def trained(method: Monodepth, examples: LabelledImages | None = None) -> tuple[Learned, Learned]:
    """The networks as training begins and as it ends, once it has ended; InterruptedError where it does not."""
    limits = method.depth.nearest, method.depth.farthest
    begun = method.build(1)
    before = Learned(begun.net, begun.normalisation, limits)
    if fit(method, method.examples() if examples is None else examples):
        raise InterruptedError(f"{method.out}: training did not end; run again to go on with it")
    found = load(method.out)
    return before, Learned(restored(found), found.record.normalisation, limits)


def protocol(method: Monodepth, data: str) -> dict[str, Any]:
    """What was trained on what, and its loss: the mean of each tenth of the logged steps."""
    lines = [json.loads(line) for line in (method.out / "metrics.jsonl").read_text().splitlines()]
    losses = [float(np.mean(part)) for part in np.array_split([line["loss"] for line in lines], 10)]
    return {
        "data": data, "network": method.network, "size": method.size, "batch": method.batch, "steps": method.steps,
        "start": method.init_from.rpartition("/")[2] or "random", "optim": method.optim, "depth": method.depth,
        "offsets": [] if method.supervision == "sensor" else list(method.clips.offsets or (-1, 1)),
        "seed": method.seed, "loss_by_tenth": losses,
    }  # fmt: skip


def strip(clips: Chosen, index: int, size: tuple[int, int], learned: Learned) -> Picture:
    """A row: the target, its predicted depth, its first source frame, and that frame as the target's camera sees it."""
    pair = next(pairs(Chosen(clips.whole, [clips.indices[index]]), size))
    depth, _, pose = learned(pair)
    seen, _ = warp(pair.source, depth, pair.camera, pose, padding="zeros")
    shown = [np.moveaxis((each[0] * 255).round().byte().numpy(), 0, 2) for each in (pair.target, pair.source, seen)]
    near = depth_picture(1 + np.log(depth[0].numpy() / depth.min().item()))
    return np.concatenate([shown[0], near, *shown[1:]], 1)
