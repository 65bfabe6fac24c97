"""What label autoencoders keep of held-back maps, by width: `python -m benchmarks.label_autoencoders --out F.json`.

CamVid: trained on its training labels, scored on its validation labels. NYUv2, 13 classes: of the shared maps every
fifth is held back. Maps are resized to `size`, and scored at it. `majority` is the simplest code of the same size: the
most frequent class of each 16x16 cell, painted back over the whole cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.timing import one_thread, write_json, write_result
from fastseg.cli import run
from fastseg.data.images import decode_label
from fastseg.data.label_maps import LabelPictures, LabelSource, open_labels
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig, parse_size
from fastseg.methods.structure import LabelStructure, Widths
from fastseg.metrics import confusion, scores

CELL = 16
HELD_BACK = 5  # every so many maps of NYUv2


@dataclass(frozen=True)
class Config:
    """Which maps, which widths, how long."""

    runs: Path  # a folder for the trainings, which go on where they were
    data: Path = Path("../shared/data")
    sets: tuple[str, ...] = ("camvid", "nyu13")
    widths: tuple[Widths, ...] = (32, 128, 256)
    size: str = "64x96"
    steps: int = 600
    batch: int = 8
    seed: int = 0
    out: Path | None = None


def nyu_folder(source: Path, root: Path) -> Path:
    """`root` as a folder of labels, made of the maps NAME.png in `source`: 0 = unlabelled, 1 to 13 the classes."""
    names = sorted(path.stem for path in source.glob("*.png"))
    if not names:
        raise FileNotFoundError(f"{source}: expected the NYUv2 label maps NAME.png; there is none")
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for name in names:
        stored = decode_label(source / f"{name}.png")
        Image.fromarray(np.where(stored == 0, 255, stored - 1).astype(np.uint8)).save(root / "labels" / f"{name}.png")
    lines = (source / "classes13.txt").read_text("utf-8").splitlines()
    (root / "classes.txt").write_text("".join(f"{line.split(maxsplit=1)[1]}\n" for line in lines if line.strip()))
    held = names[::HELD_BACK]
    (root / "val.txt").write_text("\n".join(held) + "\n")
    (root / "train.txt").write_text("\n".join(name for name in names if name not in held) + "\n")
    return root


def majority(label: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.uint8]:
    """The label map (H, W) with every 16x16 cell of its most frequent class; 0 where a cell is all void."""
    height, width = label.shape
    padded = np.pad(label, ((0, -height % CELL), (0, -width % CELL)), constant_values=255)
    cells = padded.reshape(padded.shape[0] // CELL, CELL, padded.shape[1] // CELL, CELL)
    counts = np.stack([(cells == each).sum((1, 3)) for each in range(classes)])
    return np.kron(counts.argmax(0), np.ones((CELL, CELL), np.int64))[:height, :width].astype(np.uint8)


def of_majority(maps: LabelledImages) -> dict[str, float]:
    """The scores of `majority`."""
    classes = len(maps.class_names)
    total = np.zeros((classes, classes), np.int64)
    for index in range(len(maps)):
        label = np.asarray(maps[index][1], np.uint8)
        total += confusion(label, majority(label, classes), classes)
    return as_figures(total)


def as_figures(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    """miou and global_accuracy of a confusion matrix."""
    found = scores(counts)
    return {"miou": round(found.miou, 4), "global_accuracy": round(found.global_accuracy, 4)}


def trained(method: LabelStructure, maps: LabelledImages) -> dict[str, float]:
    """The scores of an autoencoder's reconstruction of held-back maps, after training it, or what is left of that."""
    from fastseg.checkpoint import load
    from fastseg.evaluate import confusion_of
    from fastseg.inference import restored
    from fastseg.train import main as train

    if train(method):
        raise ValueError(f"the training in {method.out} did not end well")
    found = load(method.out)
    pictures = LabelPictures(maps, found.record.size)
    return as_figures(confusion_of(restored(found), pictures, found.record.size, found.record.normalisation))


def of_set(name: str, config: Config) -> dict[str, Any]:
    """The scores of one set's held-back maps, by width."""
    source: LabelSource = "camvid" if name == "camvid" else "labels"
    root = config.data / "camvid" if name == "camvid" else nyu_folder(config.data / "nyu13_labels", config.runs / name)
    held, size = open_labels(source, root, "val"), parse_size(config.size)
    loop = LoopConfig(precision="bf16", device="cpu", workers=0, threads=1, save_every=200, log_every=20)
    method = LabelStructure(source, str(root), config.runs, size=config.size, steps=config.steps, batch=config.batch)
    optim = OptimConfig(lr=1e-3, optimizer="adamw", weight_decay=0.0, schedule="cosine", warmup=20)
    method = replace(method, seed=config.seed, loop=loop, optim=optim, resume=True)
    found: dict[str, Any] = {"held_back": len(held), "majority": of_majority(LabelPictures(held, size))}
    for width in config.widths:
        out = config.runs / f"{name}-{width}"
        found[str(width)] = trained(replace(method, widths=width, out=out), held)
        print(f"{name} {width}: {found[str(width)]}; majority {found['majority']}", flush=True)
    return found


def main(config: Config) -> int:
    """0 after training, scoring, and writing the scores where asked."""
    unknown = [name for name in config.sets if name not in ("camvid", "nyu13")]
    if unknown:
        raise ValueError(f"--sets are camvid and nyu13; got {unknown[0]!r}")
    figures = {name: of_set(name, config) for name in config.sets}
    asked = {"size": config.size, "steps": config.steps, "batch": config.batch, "seed": config.seed}
    payload = {**asked, "sets": figures, "gpu": "not run on a GPU"}
    written(payload, config.out)
    return 0


def written(payload: dict[str, Any], out: Path | None) -> None:
    """None; the scores stand in `out`, or in benchmarks/results under their name and date."""
    from benchmarks.record import stamp

    path = write_result("label-autoencoders", payload) if out is None else write_json(out, {**stamp(), **payload})
    print(f"written to {path}")


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m benchmarks.label_autoencoders --runs DIR`."""
    return run(Config, main, argv)


if __name__ == "__main__":
    one_thread()
    raise SystemExit(cli())
