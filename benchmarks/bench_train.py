"""Training throughput: the loop of fastseg.train against the same steps in a bare torch loop.

    python -m benchmarks.bench_train [--network unet/resnet18] [--size 180x240] [--batch 4] [--out FOLDER]

Two races, each taken in turn, round by round. `steps`: the same batches lie in memory; what is timed is `take_step`
against a plain forward, loss, backward, step. `program`: the whole loop, with its loader, journal and figures, against
the same loader feeding the plain step. The goal is 95 % of the bare loop's images a second. Both must end with the
same weights to rounding, or nothing is timed.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.timing import RESULTS, write_result
from fastseg.cli import run
from fastseg.data.batches import Batch
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.segment import Segment
from fastseg.tensors import Module

GOAL, CLASSES = 0.95, 12


@dataclass(frozen=True)
class Config:
    """What is trained.

    network     as fastseg.train takes it
    size        HEIGHTxWIDTH
    batch       images a step
    steps       steps a round
    rounds      rounds of each contestant
    device      cpu or cuda
    precision   float32, bf16
    workers     processes that read and augment
    threads     of torch on the CPU
    images      images in the synthetic set
    out         the folder for the result
    """

    network: str = "unet/resnet18"
    size: str = "180x240"
    batch: int = 4
    steps: int = 8
    rounds: int = 7
    device: str = "cpu"
    precision: Literal["float32", "bf16"] = "float32"
    workers: int = 1
    threads: int = 1
    images: int = 64
    out: Path = field(default_factory=lambda: RESULTS)


class Noise:
    """Labelled images of camera size, kept in memory: nothing is decoded, everything is augmented."""

    class_names = tuple(f"class {index}" for index in range(CLASSES))

    def __init__(self, count: int, height: int, width: int) -> None:
        random = np.random.default_rng(0)
        self._images = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        self._labels = random.integers(0, CLASSES, (count, height, width), dtype=np.uint8)

    def ids(self) -> list[str]:
        return [f"noise/{index}" for index in range(len(self))]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return self._images[index], self._labels[index]


def _placed(net: Module, device: Any) -> Module:
    import torch

    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Bare:
    """The plain loop: forward, loss, backward, step, and the loss read once every ten steps."""

    def __init__(self, net: Module, method: Segment, device: Any) -> None:
        import torch

        self.net, self.method, self.device = _placed(net, device).train(), method, device
        optim = method.optim
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay
        )

    def steps(self, batches: Sequence[Batch]) -> None:
        """Every batch in turn."""
        for batch in batches:
            self.step(batch)

    def step(self, batch: Batch) -> None:
        import torch

        from fastseg.data.augment import IMAGENET

        images = IMAGENET(batch.images.to(self.device, non_blocking=True)).to(memory_format=torch.channels_last)
        labels = batch.labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.method.loop.precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(self.net(images).float(), labels.long(), ignore_index=255)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        if batch.step % 10 == 0:
            loss.item()


def method_of(config: Config, out: Path) -> Segment:
    """The run that both contestants make."""
    loop = LoopConfig(
        precision=config.precision, device=config.device, workers=config.workers, save_every=10**9, log_every=10
    )
    return Segment(
        data="folder", root=str(out), out=out, network=config.network, size=config.size, batch=config.batch,
        steps=config.steps, optim=OptimConfig(clip=0.0), loop=loop,
    )  # fmt: skip


def contestants(config: Config, method: Segment) -> tuple[Any, Bare]:
    """The loop's run and the bare loop, from the same weights."""
    from fastseg.data.augment import IMAGENET
    from fastseg.distributed import Group
    from fastseg.loop import Run, chosen_device

    device = chosen_device(config.device)
    net = method.build(CLASSES).net
    bare = Bare(copy.deepcopy(net), method, device)
    return Run(method, net, method.network, IMAGENET, Group(device), None), bare


def largest_difference(config: Config, method: Segment, batches: Sequence[Batch]) -> float:
    """The largest difference of any weight after the same steps, over the largest change of any weight."""
    import torch

    from fastseg.loop import take_step

    ours, bare = contestants(config, method)
    before = [parameter.detach().clone() for parameter in bare.net.parameters()]
    for batch in batches:
        take_step(ours, batch)
        bare.step(batch)
    pairs = list(zip(ours.net.parameters(), bare.net.parameters(), strict=True))
    with torch.no_grad():
        differs = max(float((a - b).abs().max()) for a, b in pairs)
        moved = max(float((old - b).abs().max()) for old, (_, b) in zip(before, pairs, strict=True))
    return differs / moved


def timed(function: Callable[[], object], device: str) -> float:
    """Seconds that a call takes, the GPU's work included."""
    import torch

    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def race(names: dict[str, Callable[[], object]], config: Config) -> dict[str, Any]:
    """Images a second of each contestant, the median of its rounds, and ours over the bare loop's, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(config.rounds + 1):  # the first round warms up; who goes first alternates
        for name in list(names)[:: 1 if turn % 2 else -1]:
            passed = timed(names[name], config.device)
            if turn:
                seconds[name].append(passed)
    images = config.steps * config.batch
    ratios = np.array(seconds["bare"]) / np.array(seconds["fastseg"])
    return {
        "images_per_s": {name: float(images / np.median(each)) for name, each in seconds.items()},
        "of_bare": float(np.median(ratios)), "of_bare_min": float(ratios.min()), "of_bare_max": float(ratios.max()),
    }  # fmt: skip


def steps_race(config: Config, method: Segment, batches: Sequence[Batch]) -> dict[str, Any]:
    """The race of the steps alone, on batches in memory."""
    from fastseg.loop import take_step

    ours, bare = contestants(config, method)
    return race(
        {
            "fastseg": lambda: [take_step(ours, batch) for batch in batches],
            "bare": lambda: bare.steps(batches),
        },
        config,
    )


def program_race(config: Config, method: Segment, examples: LabelledImages) -> dict[str, Any]:
    """The race of the whole loops, each with its loader; data_wait is the share of time that ours had no data."""
    import json

    from fastseg.journal import Journal
    from fastseg.loop import train_steps

    ours, bare = contestants(config, method)
    path = method.out / "metrics.jsonl"

    def whole() -> None:
        ours.step = 0
        with Journal(path, 0, method.steps, "bench") as journal:
            train_steps(ours, method.batches(examples, 0), journal, lambda: None, None)

    def plain() -> None:
        for batch in method.batches(examples, 0):
            bare.step(batch)

    found = race({"fastseg": whole, "bare": plain}, config)
    return {**found, "data_wait": json.loads(path.read_text().splitlines()[-1])["data_wait"]}


def main(config: Config) -> int:
    """0 when both races reach the goal, 1 otherwise; the result is written either way."""
    import torch

    from fastseg.methods import parse_size

    torch.set_num_threads(config.threads)
    height, width = parse_size(config.size)
    examples = Noise(config.images, height * 5 // 4, width * 5 // 4)
    with tempfile.TemporaryDirectory() as folder:
        method = method_of(config, Path(folder))
        few: Iterator[Batch] = replace(method, loop=replace(method.loop, workers=0)).batches(examples, 0)
        batches = list(few)
        error = largest_difference(config, method, batches[:3])
        if not error < 1e-2:
            raise ValueError(f"the loops do not train alike: weights differ by {error:.2g} of their change")
        races = {"steps": steps_race(config, method, batches), "program": program_race(config, method, examples)}
    for name, found in races.items():
        rates = ", ".join(f"{who} {rate:.2f} images/s" for who, rate in found["images_per_s"].items())
        spread = f"{found['of_bare_min']:.1%} to {found['of_bare_max']:.1%}"
        print(f"{name}: {found['of_bare']:.1%} of the bare loop ({spread} by round); {rates}")
    print(f"waiting for data: {races['program']['data_wait']:.1%} of the time")
    reached = all(found["of_bare"] >= GOAL for found in races.values())
    payload = {"goal": GOAL, "reached": reached, "protocol": config_of(config), "error": error, **races}
    print(f"written to {write_result('train', payload, config.out)}")
    return 0 if reached else 1


def config_of(config: Config) -> dict[str, Any]:
    """The configuration but for the folder."""
    return {key: value for key, value in vars(config).items() if key != "out"}


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
