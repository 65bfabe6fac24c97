"""Images a second that the loader decodes and augments: `python -m benchmarks.bench_loader --json F.json`.

Labelled PNGs of CamVid's size and layout are synthesised in a temporary folder; then, with each number of workers:

workers N   a call takes `batches` batches of 4 from a stream that is under way (the workers have started and are as
            far ahead as at the call's end): ours, then the peer, torch's DataLoader under torchvision's own transforms
            (peers_loader.py).
            0 workers: decoding and augmentation in the process itself, on one thread. `images_per_s` is 1 / time.
            `wait_share` is the part of the time that a training loop waits, whose steps keep a processor busy for
            `step_ms` each: what metrics.jsonl calls data_wait.
parts       milliseconds an image of what one worker does, each alone: decoding, the default augmentation, and that
            with one more change each; the row of the default is called fastseg.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import OURS, Row, interleaved, keep_rows, one_thread, print_rows, race
from fastseg.cli import run

SIZE, BATCH, CLASSES = (360, 480), 4, 11
PEER = "torch DataLoader + torchvision v2"


@dataclass(frozen=True)
class Config:
    """What to measure."""

    images: int = 64  # in the folder
    batches: int = 16  # a call
    workers: tuple[int, ...] = (0, 1, 2)
    step_ms: float = 300.0  # of the training loop that waits: ResNet18 on two CPU cores
    steps: int = 20  # of it
    repeats: int = 9
    budget_s: float = 60.0
    json: Path | None = None
    plot: Path | None = None


def synthesise(root: Path, images: int, seed: int = 0) -> Path:
    """`root`, holding that many images of smooth colour under camera noise, and labels of large pieces."""
    from PIL import Image

    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    height, width = SIZE
    for number in range(images):
        random = np.random.default_rng((seed, number))
        coarse = Image.fromarray(random.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        colour = np.clip(smooth + random.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        label = np.kron(random.integers(0, CLASSES + 1, (height // 40, width // 40)), np.ones((40, 40)))
        Image.fromarray(colour).save(root / "train" / f"{number:04d}.png")
        Image.fromarray(label.astype(np.uint8)).save(root / "trainannot" / f"{number:04d}.png")
    return root


def ours(root: Path, workers: int) -> Iterator[object]:
    """The images of one batch after another, as training reads them."""
    from fastseg.data.augment import AugmentConfig
    from fastseg.data.batches import Recipe, batches
    from fastseg.data.camvid import CamVid

    recipe = Recipe(SIZE, BATCH, 0, AugmentConfig())
    with closing(batches(CamVid(root, "train"), recipe, 0, 10**9, workers)) as stream:  # type: ignore[type-var]
        for batch in stream:
            yield batch.images


def streams(root: Path, workers: int) -> dict[str, Callable[[], Iterator[object]]]:
    """What starts each contestant's stream."""
    from benchmarks.peers_loader import endless

    return {OURS: lambda: ours(root, workers), PEER: lambda: endless(root, SIZE, BATCH, workers)}


def take(stream: Iterator[object], count: int) -> None:
    """None, after so many batches."""
    for _ in range(count):
        next(stream)


def wait_share(stream: Iterator[object], steps: int, step_s: float) -> float:
    """The part of the time that a loop waits whose steps keep a processor busy for `step_s`."""
    waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - asked
        until = time.perf_counter() + step_s
        while time.perf_counter() < until:
            pass
    return waited / (time.perf_counter() - began)


def stream_row(config: Config, case: str, name: str, start: Callable[[], Iterator[object]]) -> Row:
    """One contestant's row, its ratio not yet known; alone, since idle workers would read ahead in another's turn."""
    with closing(start()) as stream:  # type: ignore[type-var]
        first: Any = next(stream)
        kind = (tuple(first.shape), str(first.dtype))
        assert kind == ((BATCH, 3, *SIZE), "torch.uint8"), f"{name} gives {kind}"
        share = wait_share(stream, config.steps, config.step_ms / 1e3)
        call = {name: lambda: take(stream, config.batches)}
        timed = interleaved(call, config.repeats, warm_up=2, budget_s=config.budget_s)[name]
    extra = {"images_per_s": config.batches * BATCH / timed.median_ms * 1e3, "wait_share": share}
    return Row(case, name, 1, timed.median_ms, timed.min_ms, timed.calls, 1.0, None, extra)


def loader_rows(config: Config, root: Path, workers: int) -> list[Row]:
    """Both contestants with so many workers."""
    rows = [stream_row(config, f"{workers} workers", *each) for each in streams(root, workers).items()]
    return [replace(row, ratio_to_ours=row.ms_median / rows[0].ms_median) for row in rows]


def part_rows(config: Config, root: Path) -> list[Row]:
    """What an image costs, by part."""
    from fastseg.data.augment import AugmentConfig, augment
    from fastseg.data.camvid import CamVid

    examples, plain = CamVid(root, "train"), AugmentConfig()
    image, label = examples[0]
    depth = np.ones(SIZE, np.float32)
    more = {
        "no jitter": replace(plain, jitter=0.0), "hue": replace(plain, hue=0.1), "blur": replace(plain, blur=1.0),
        "rotate": replace(plain, rotate=10.0),
    }  # fmt: skip
    calls = {OURS: lambda: augment(image, label, SIZE, plain, (0, 0, 1))}
    calls |= {name: lambda each=each: augment(image, label, SIZE, each, (0, 0, 1)) for name, each in more.items()}  # type: ignore[misc]
    calls["with depth"] = lambda: augment(image, label, SIZE, plain, (0, 0, 1), depth)
    rows = race("parts, one image", calls, repeats=3 * config.repeats, budget_s=config.budget_s)
    decoded = interleaved({"decode": lambda: examples[0]}, 3 * config.repeats)["decode"]
    ratio = decoded.median_ms / rows[0].ms_median
    return [*rows, Row(rows[0].case, "decode", 1, decoded.median_ms, decoded.min_ms, decoded.calls, ratio)]


def main(config: Config) -> int:
    """0 after printing the figures."""
    if config.images < BATCH:
        raise ValueError(f"--images must be at least {BATCH}, a batch; got {config.images}")
    with tempfile.TemporaryDirectory() as folder:
        root = synthesise(Path(folder) / "camvid", config.images)
        rows = [row for workers in config.workers for row in loader_rows(config, root, workers)]
        rows += part_rows(config, root)
    print_rows(rows)
    keep_rows("loader", rows, config.json, config.plot, {"size": SIZE, "batch": BATCH, "step_ms": config.step_ms})
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
