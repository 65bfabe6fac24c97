"""Fig. 3 of the HN-label paper, how classes spread over height: `python -m benchmarks.reproduce.class_height`.

    python -m benchmarks.reproduce.class_height --reader replica --root DIR --out FOLDER

For every labelled frame with an accepted HN label: a pixel of class c at height-bin b counts one in (c, b). A row is
then divided by its sum: P(height bin | class). Writes class_height.png and class_height-<date>.json into FOLDER. The
paper's figure (NYUv2) shows the same table; what it claims is that many classes live in few bins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.sources import open_labelled, open_source
from fastseg.frames import FrameError
from fastseg.labels.hn import HNConfig, label_frame

Counts = npt.NDArray[np.int64]
Annotated = Literal["folder", "nyuv2", "replica", "rooms"]  # sets whose labels and frames go by the same ids


@dataclass(frozen=True)
class Config:
    """Which labelled RGB-D frames, and where to write."""

    root: Path
    out: Path
    reader: Annotated = "replica"
    split: str = "all"
    n_height: int = 10
    fewest_pixels: int = 2000  # classes with fewer counted pixels are left out of the picture


def count(classes: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], n_classes: int, n_height: int) -> Counts:
    """(n_classes, n_height): pixels of each class at each height bin; 255 in either is left out."""
    both = (classes != 255) & (label != 255)
    flat = classes[both].astype(np.int64) * n_height + label[both] % n_height
    return np.bincount(flat, minlength=n_classes * n_height).reshape(n_classes, n_height)


def gather(config: Config) -> tuple[Counts, list[str], Counter[str], npt.NDArray[np.float32]]:
    """The table over all frames, the class names, the frames by outcome, and the height bins' inner edges."""
    source = open_source(config.reader, config.root)
    images = open_labelled(config.reader, config.root, config.split)
    names = list(images.class_names)
    settings = HNConfig(n_height=config.n_height)
    total = np.zeros((len(names), config.n_height), np.int64)
    outcomes: Counter[str] = Counter()
    edges = np.zeros(0, np.float32)
    for index, frame_id in enumerate(images.ids()):
        try:
            answer = label_frame(source.load(frame_id), settings)
        except FrameError as error:
            outcomes[error.reason] += 1
            continue
        outcomes["accepted"] += 1
        edges = answer.height_edges
        total += count(images[index][1], answer.label, len(names), config.n_height)
    return total, names, outcomes, edges


def entropy_bits(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Entropy of each row in bits: 0 when a class lives in one bin, log2(bins) when it is everywhere."""
    logs = np.log2(rows, out=np.zeros_like(rows), where=rows > 0)
    return np.asarray(-(rows * logs).sum(1), np.float64)


def draw(rows: npt.NDArray[np.float64], names: list[str], edges: npt.NDArray[np.float32], path: Path) -> None:
    """Writes the picture: one row a class, one column a height bin, brighter is more."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.32 * len(names) + 1.6), layout="constrained")
    shown = axes.imshow(rows, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(np.arange(len(edges)) + 0.5, [f"{edge:.2f}" for edge in edges])
    axes.set_xlabel("height above the floor, metres (bin edges; the last bin is open upward)")
    figure.colorbar(shown, label="share of the class's pixels")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(config: Config) -> int:
    """0 after writing the picture and the table; 3 when no frame was accepted."""
    total, names, outcomes, edges = gather(config)
    print(", ".join(f"{name} {number}" for name, number in sorted(outcomes.items())))
    kept = np.flatnonzero(total.sum(1) >= max(config.fewest_pixels, 1))
    if kept.size == 0:
        print("no class has enough labelled pixels at known height: nothing to draw")
        return 3
    rows = total[kept] / total[kept].sum(1, keepdims=True)
    order = np.argsort(rows @ np.arange(config.n_height))
    rows, kept = rows[order], kept[order]
    shown = [names[k] for k in kept]
    config.out.mkdir(parents=True, exist_ok=True)
    draw(rows, shown, edges, config.out / "class_height.png")
    classes: list[dict[str, Any]] = [
        {"class": name, "pixels": int(total[k].sum()), "share_by_height": row.round(4).tolist(), "bits": float(bits)}
        for name, k, row, bits in zip(shown, kept, rows, entropy_bits(rows), strict=True)
    ]
    payload = {"reader": config.reader, "frames": dict(outcomes), "height_edges_m": edges, "classes": classes}
    print(f"written to {write_result('class_height', payload, config.out)} and class_height.png")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
