"""One step of learning depth from video, its photometric error by the fused op, by eager torch and by torch.compile.

    python -m benchmarks.train_photometric [--network skip/resnet18] [--size 192x640] [--batch 12] [--out FOLDER]

The step is the training loop's own (`take_step`: four scales, two source frames, the pose network, AdamW), and only
what finds the photometric error is exchanged. All start from the same weights, and the first step's losses must agree
to 1e-4. Times are medians of steps taken in turn in one process; `peak_mb` is the high-water mark of a fresh process'
resident memory over two steps, libraries and weights included. The goal is 3 GB for the fused op: what fills memory is
what the networks keep for their backward, not the photometric error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_photometric import inputs, memory
from benchmarks.threads import on_threads, one_thread
from benchmarks.timing import OURS, RESULTS, write_result
from fastseg.cli import run
from fastseg.data.batches import Batch
from fastseg.methods import LoopConfig, OptimConfig, parse_size
from fastseg.methods.monodepth import DepthConfig, Monodepth
from fastseg.tensors import Tensor

ROOT = Path(__file__).parent.parent
GOAL_MB, AGREE = 3000.0, 1e-4
NAMES = (OURS, "eager", "compile")
Compare = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Config:
    """What is trained.

    network     as fastseg.train takes it; size HEIGHTxWIDTH; batch images a step, each with two source frames
    rounds      timed steps of each
    threads     of torch
    contestants fastseg, and some of eager and compile
    out         the folder for the result
    """

    network: str = "skip/resnet18"
    size: str = "192x640"
    batch: int = 12
    rounds: int = 3
    threads: int = 1
    contestants: tuple[str, ...] = NAMES
    out: Path = field(default_factory=lambda: RESULTS)

    def __post_init__(self) -> None:
        if OURS not in self.contestants:
            raise ValueError(f"contestants must hold {OURS}; got {', '.join(self.contestants)}")


def compares(names: Sequence[str]) -> dict[str, Compare]:
    """What finds the photometric error, by contestant; ValueError for a name that is none."""
    from fastseg.ops.photometric import photometric_loss

    if not set(names) <= set(NAMES):
        raise ValueError(f"contestants are {', '.join(NAMES)}; got {', '.join(names)}")
    return {name: photometric_loss if name == OURS else _peer(name) for name in names}


def _peer(name: str) -> Compare:
    """A peer's loss, called as ours is with border padding and the minimum over sources: every pixel is seen."""
    import torch

    from benchmarks.peers_photometric import losses  # here: what it loads is not to count as ours

    peer = losses()[name]

    def compare(*given: Tensor, ssim: str, automask: bool, **_: object) -> tuple[Tensor, Tensor]:
        error = peer(*given, kind=ssim, automask=automask)
        return error, torch.zeros_like(error, dtype=torch.int8)

    return compare


def method_of(network: str, size: str, batch: int, steps: int = 10**6) -> Monodepth:
    """The run that every contestant makes: the minimum over sources, since that is what the peers have."""
    return Monodepth(
        "video", root="none", out=Path("none"), network=network, size=size, batch=batch, steps=steps,
        depth=DepthConfig(reduce="min"), loop=LoopConfig(device="cpu", workers=0),
        optim=OptimConfig(lr=1e-4, optimizer="adamw", weight_decay=0.0),
    )  # fmt: skip


def begun(method: Monodepth, compare: Compare) -> Any:
    """The loop's run at its first step, its photometric error found by `compare`."""
    import torch

    from fastseg.distributed import Group
    from fastseg.loop import Run
    from fastseg.methods.depth_losses import clip_loss, learned_motion
    from fastseg.nets import disparities

    def loss(net: Any, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Any = None) -> Tensor:
        motion = learned_motion(net.pose, scene, (-1, 1))
        return clip_loss(disparities(net, images), scene, labels, method.depth, motion, compare)

    begin = method.build(1)
    state = Run(method, begin.net, begin.network, begin.normalisation, Group(torch.device("cpu")), None)
    state.loss = loss
    return state


def batch_of(config: Config) -> Batch:
    """Smooth pictures with grain, as they come from the loader."""
    import torch

    height, width = parse_size(config.size)
    target, sources, _, camera, _ = inputs(2, config.batch, height, width)
    images, frames = ((255 * each).round().to(torch.uint8) for each in (target, sources))
    labels = torch.zeros(config.batch, height, width, dtype=torch.uint8)
    ids = tuple(f"smooth/{index}" for index in range(config.batch))
    return Batch(images, labels, ids, 0, 0, camera=camera.double(), sources=frames)


def times(config: Config) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each contestant's steps, taken in turn, and the loss of the first, which is not timed."""
    from fastseg.loop import take_step

    batch = batch_of(config)
    method = method_of(config.network, config.size, config.batch)
    runs = {name: begun(method, compare) for name, compare in compares(config.contestants).items()}
    with on_threads(config.threads) as settle:
        first = {name: take_step(state, batch)["loss"] for name, state in runs.items()}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(config.rounds):
            for name, state in runs.items():
                settle()
                start = time.perf_counter()
                take_step(state, batch)
                seconds[name].append(time.perf_counter() - start)
    return seconds, first


def peak_here(name: str, network: str, size: str, batch: int, threads: int) -> float:
    """Megabytes of this process at most, over two steps of one contestant."""
    from fastseg.loop import take_step

    config = Config(network, size, batch, threads=threads)
    given = batch_of(config)
    state = begun(method_of(network, size, batch), compares([name])[name])
    with on_threads(threads):
        for _ in range(2):
            take_step(state, given)
    return memory("VmHWM") / 1e6


def peak(config: Config, name: str) -> float:
    """`peak_here` of one contestant in a fresh process with malloc as it comes."""
    given = (name, config.network, config.size, config.batch, config.threads)
    code = f"from benchmarks.train_photometric import peak_here\nprint('MB', peak_here{given!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return round(float(done.stdout.rpartition("MB")[2]), 1)


def apart(first: dict[str, float]) -> float:
    """The largest relative difference from ours; ValueError above 1e-4: then nothing else is worth a number."""
    found = max(abs(loss / first[OURS] - 1) for loss in first.values())
    if not found <= AGREE:
        raise ValueError(f"the first step's losses must agree to {AGREE:g}; got {first}")
    return found


def main(config: Config) -> int:
    """0 when our step stays below 3 GB, 1 otherwise; the result is written either way."""
    memories = {name: peak(config, name) for name in config.contestants}
    seconds, first = times(config)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    payload = {
        "protocol": {key: value for key, value in vars(config).items() if key != "out"}, "loss": first,
        "loss_apart": apart(first), "seconds": seconds, "median_s": medians, "peak_mb": memories,
        "time_ratio": {name: each / medians[OURS] for name, each in medians.items()},
        "memory_ratio": {name: each / memories[OURS] for name, each in memories.items()},
        "goal_mb": GOAL_MB, "reached": memories[OURS] < GOAL_MB,
    }  # fmt: skip
    for key in ("loss", "median_s", "time_ratio", "peak_mb", "memory_ratio"):
        print(f"{key}: {json.dumps(payload[key])}")
    print(f"written to {write_result('train_photometric', payload, config.out)}")
    return 0 if payload["reached"] else 1


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
