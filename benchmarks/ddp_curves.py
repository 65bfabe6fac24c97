"""Two processes against one, the same batches: the loss curves, and how far apart they come.

`python -m benchmarks.ddp_curves` trains on procedural rooms, on the CPU, three times a network: in one process, in two
by torchrun, and, as a measure of what rounding alone does, in one process whose first weights are each the next float.
Sums over two processes round differently from sums over one; batch normalisation multiplies that at every layer and
step, so that a network with it has no other yardstick than the third run. Dropout is off: its masks are each rank's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.record import write_result
from fastseg.cli import run
from fastseg.data.rooms import RoomImages
from fastseg.methods import LoopConfig, OptimConfig, Start
from fastseg.methods.segment import Segment
from fastseg.train import fit

RUNS = ("one", "two", "next float")


@dataclass(frozen=True)
class DdpCurves:
    """What to compare.

    networks    each is trained three times
    steps       of each training
    batch       images a step, in one process or in two
    size        HEIGHTxWIDTH
    rooms       procedural rooms to train on
    lr          the learning rate
    part        given by the program to itself: the folder of one of its trainings
    """

    networks: tuple[str, ...] = ("fpn/convnext_atto", "unet/resnet10t")
    steps: int = 50
    batch: int = 4
    size: str = "96x128"
    rooms: int = 16
    lr: float = 1e-3
    part: str = ""


@dataclass(frozen=True)
class Plain(Segment):
    """Segment without dropout, its first weights moved by one float where the folder's name says so."""

    def build(self, classes: int) -> Start:
        begun = super().build(classes)
        for module in begun.net.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        if self.out.name == RUNS[2]:
            with torch.no_grad():
                for weight in begun.net.parameters():
                    weight.copy_(torch.nextafter(weight, torch.full_like(weight, float("inf"))))
        return begun


def main(config: DdpCurves) -> int:
    """0; writes benchmarks/results/ddp-curves-<date>.json."""
    if config.part:
        return _train(config)
    found = {network: _compared(config, network) for network in config.networks}
    shown = {"steps": config.steps, "batch": config.batch, "size": config.size, "lr": config.lr, "rooms": config.rooms}
    path = write_result("ddp-curves", {"protocol": shown, "networks": found})
    for network, figures in found.items():
        print(network, {key: value for key, value in figures.items() if key != "curves"})
    print(path)
    return 0


def _train(config: DdpCurves) -> int:
    loop = LoopConfig(device="cpu", precision="float32", workers=0, threads=1, save_every=config.steps, log_every=1)
    method = Plain(
        "rooms", ".", Path(config.part), network=config.networks[0], size=config.size, steps=config.steps,
        batch=config.batch, optim=OptimConfig(lr=config.lr), loop=loop,
    )  # fmt: skip
    height, width = map(int, config.size.split("x"))
    return fit(method, RoomImages(seed=1, count=config.rooms, height=height, width=width))


def _compared(config: DdpCurves, network: str) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        curves = {name: _curve(config, network, Path(folder) / name) for name in RUNS}
    one, *others = curves.values()
    return {
        "largest_relative_difference": dict(zip(RUNS[1:], (_apart(one, other) for other in others), strict=True)),
        "of_the_first_ten_steps": {
            name: _apart(one[:10], other[:10]) for name, other in zip(RUNS[1:], others, strict=True)
        },
        "curves": curves,
    }


def _curve(config: DdpCurves, network: str, out: Path) -> list[float]:
    """The loss of every step of one training."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if out.name == RUNS[1] else []
    words = ["--part", str(out), "--networks", json.dumps([network])]
    for name in ("steps", "batch", "size", "rooms", "lr"):
        words += [f"--{name}", str(getattr(config, name))]
    command = [sys.executable, *launch, "-m", "benchmarks.ddp_curves", *words]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of two curves at a step, relative to the first."""
    return max(abs(a - b) / a for a, b in zip(one, other, strict=True))


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.ddp_curves ...`."""
    return run(DdpCurves, main, argv)


if __name__ == "__main__":
    sys.exit(cli())
