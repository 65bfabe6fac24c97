"""What a regulariser adds to a training step: `python -m benchmarks.structure_cost --json F.json`.

One step (forward, loss, backward, update) of the same network without a branch, with the decoder's and with the
encoder's, called in turn, so that each ratio is of the same minutes; one thread, the autoencoder random (its cost does
not depend on what it learned). `ms_median` of `none` is what the others are compared with; `share` is the median over
rounds of how much longer a step took than the plain one of its round.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import one_thread, write_json, write_result
from fastseg.cli import run
from fastseg.methods import LoopConfig, OptimConfig, RegulariserConfig, parse_size
from fastseg.methods.segment import Segment
from fastseg.methods.structure import LabelStructure, Widths

ALLOWED = 0.15


@dataclass(frozen=True)
class Config:
    """Which network, which autoencoders, how often."""

    network: str = "hypercolumn/vgg16"
    size: str = "256x256"
    classes: int = 21
    batch: int = 2
    repeats: int = 7
    widths: tuple[Widths, ...] = (32, 128)
    json: Path | None = None


class Maps:
    """Nothing but the names of classes: what an untrained autoencoder is saved with."""

    def __init__(self, classes: int, count: int) -> None:
        self.class_names = [f"class {index}" for index in range(classes)]
        self._count = count

    def ids(self) -> list[str]:
        return [str(index) for index in range(self._count)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        label = np.random.default_rng(index).integers(0, len(self.class_names), (32, 32), dtype=np.uint8)
        return np.zeros((32, 32, 3), np.uint8), label


def autoencoder(config: Config, width: Widths, out: Path) -> str:
    """The run of a label autoencoder of the network's classes and size, after one step."""
    from fastseg.train import fit

    loop = LoopConfig(device="cpu", workers=0, threads=1)
    method = LabelStructure("folder", "nowhere", out, widths=width, size=config.size, steps=1, batch=1, loop=loop)
    if fit(method, Maps(config.classes, 1)):
        raise ValueError(f"the label autoencoder of {width} could not be made")
    return str(out)


def step_of(
    config: Config, regulariser: RegulariserConfig, device: str = "cpu", bf16: bool = False
) -> Callable[[], float]:
    """One training step on a fixed batch, which gives its loss."""
    import torch

    from fastseg.optim import optimiser

    method = Segment(
        "folder", "nowhere", Path("nowhere"), network=config.network, size=config.size, regulariser=regulariser
    )
    net = method.build(config.classes).net.to(memory_format=torch.channels_last).to(device).train()
    optimizer = optimiser(net, OptimConfig(lr=1e-4, optimizer="adamw", weight_decay=0.0))
    random = torch.Generator().manual_seed(0)
    images = torch.randn(config.batch, 3, *parse_size(config.size), generator=random)
    labels = torch.randint(0, config.classes, (config.batch, *images.shape[-2:]), generator=random, dtype=torch.uint8)
    images, labels = images.to(memory_format=torch.channels_last).to(device), labels.to(device)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = method.loss(net, images, labels, None)
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    return step


def regularisers(config: Config, folder: Path) -> dict[str, RegulariserConfig]:
    """none, a decoder of each width, and the encoder of the last; untrained autoencoders of them lie in the folder."""
    found = {"none": RegulariserConfig()}
    sources = {width: autoencoder(config, width, folder / str(width)) for width in config.widths}
    found |= {f"decoder {width}": RegulariserConfig("decoder", source) for width, source in sources.items()}
    last = config.widths[-1]
    return found | {f"encoder {last}": RegulariserConfig("encoder", sources[last])}


def measured(steps: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each step in every round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            loss = step()
            spent = 1e3 * (time.perf_counter() - start)
            if not np.isfinite(loss):
                raise ValueError(f"the loss of {name} is not finite")
            if number:
                times[name].append(spent)
    return times


def rows_of(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row a contestant: milliseconds, and the share over the plain step of the same round."""
    plain = np.array(times["none"])
    rows = []
    for name, found in times.items():
        share = float(np.median(np.array(found) / plain)) - 1
        row = {"regulariser": name, "ms_median": round(float(np.median(found)), 1), "ms_min": round(min(found), 1)}
        rows.append({**row, "share": round(share, 4), "within_15_percent": share <= ALLOWED})
    return rows


def main(config: Config) -> int:
    """0 after printing the rows, and writing them where asked."""
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: step_of(config, each) for name, each in regularisers(config, Path(folder)).items()}
        rows = rows_of(measured(steps, config.repeats))
    for row in rows:
        print(f"{row['regulariser']:12} {row['ms_median']:9.1f} ms a step, {row['share']:+.1%}")
    asked = {key: value for key, value in vars(config).items() if key != "json"}
    payload = {**asked, "threads": 1, "rows": rows, "gpu": "not run on a GPU"}
    if config.json is not None:
        from benchmarks.record import stamp

        print(f"written to {write_json(config.json, {**stamp(), **payload})}")
    else:
        print(f"written to {write_result('structure-cost', payload)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
