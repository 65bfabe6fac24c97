"""Evaluate a checkpoint on labelled images: `python -m fastseg.evaluate --checkpoint C --data camvid --root R`.

A checkpoint that predicts depth is scored on images with measured depth, by fastseg.evaluate_depth.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from rich.table import Table

from fastseg.checkpoint import Checkpoint
from fastseg.cli import run
from fastseg.data.augment import Normalisation, resized
from fastseg.data.label_maps import LabelPictures, LabelSource, open_labels
from fastseg.data.measured import WithDepth
from fastseg.data.sources import Labelled
from fastseg.frames import LabelledImages, LabelledInstances
from fastseg.inference import Views, check_labels_pixels, depths_of, predictions, reads_labels, restored
from fastseg.inference_depth import predicts_depth
from fastseg.metrics import Counts, Floats, Scores, as_json, check_chosen, mean_iou, subset
from fastseg.metrics_depth import DepthRules
from fastseg.tensors import Module

if TYPE_CHECKING:
    from fastseg.metrics_image import InstanceCounts


Data = Literal[Labelled, "shards", "labels", "imagefolder", WithDepth]
LABELLED: tuple[str, ...] = (*get_args(Labelled), "shards", "labels")


@dataclass(frozen=True)
class Evaluate:
    """Score a checkpoint on a split.

    checkpoint      a checkpoint folder, or a run's folder (its last good one)
    data            the data set; shards = the HN-labels of a label run; labels = maps without images, for a label
                    autoencoder, which is scored at the size that it sees; imagefolder = the classes of whole images,
                    by the mean over the pixels of their probabilities. Of a depth network: RGB-D frames by their
                    reader, stereo pairs with disparity, or rooms
    root            where it lies: a folder, or a place in a store
    split           of the data set; empty = val, or all frames with depth
    json            a file for the scores: miou, global_accuracy, class_accuracy, per_class, protocol; of depth rel,
                    sq_rel, rmse, rmse_log, log10, delta1 to delta3, of each image and their mean
    size            HEIGHTxWIDTH that the network sees, empty = as in training; scores are at the labels' own size
    batch           images at a time
    device          cpu, cuda, cuda:1, ...; auto = cuda where there is one
    precision       autocast; auto = bf16 on a GPU, float32 on a CPU and for depth
    threads         of torch on the CPU, 0 = torch's own choice
    classes         score the pixels of these classes alone, empty = all; classes_miou is the mean of their IoU among
                    all pixels
    boundaries      measure the boundary F-score too
    instances       measure the instance-weighted IoU too (cityscapes); reads every label once more
    views           scales, flips and windows whose probabilities are averaged; of depth, flips
    depth           of a depth network: scaling, crop and limits of its scores
    """

    checkpoint: Path
    data: Data
    root: str
    split: str = ""
    json: Path | None = None
    size: str = ""
    batch: int = 4
    device: str = "auto"
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    threads: int = 0
    classes: tuple[str, ...] = ()
    boundaries: bool = False
    instances: bool = False
    views: Views = field(default_factory=Views)
    depth: DepthRules = field(default_factory=DepthRules)


def main(config: Evaluate) -> int:
    """0; prints the table of scores and writes them as JSON where asked."""
    import torch

    from fastseg.checkpoint import load

    if config.batch < 1:
        raise ValueError(f"--batch must be at least 1; got {config.batch}")
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.json is not None:
        check_writable(config.json)
    found = load(config.checkpoint)
    if predicts_depth(found):
        from fastseg.evaluate_depth import evaluate_depth

        return evaluate_depth(config, found)
    if config.data == "imagefolder":
        from fastseg.evaluate_classes import evaluate_classes

        return evaluate_classes(config, found)
    check_labels_pixels(found)
    if config.data not in LABELLED:
        wanted = f"{config.data} has no labels; --data is one of {', '.join(LABELLED)}"
        raise ValueError(f"{found.path} labels pixels, and {wanted}")
    if config.depth != DepthRules():
        raise ValueError(f"--depth is for networks that predict depth; {found.path} labels pixels")
    return _evaluate_labels(config, found)


def _evaluate_labels(config: Evaluate, found: Checkpoint) -> int:
    """0 after the scores of a segmentation network."""
    from rich.console import Console

    from fastseg.metrics import scores
    from fastseg.metrics_image import image_scores

    names = found.record.classes
    examples = agreeing(found, open_labels(cast(LabelSource, config.data), config.root, _split(config)))
    check_chosen(config.classes, names)
    found_on = _measured(config, found, examples)
    counts = subset(found_on.counts, config.classes, names) if config.classes else found_on.counts
    result, extra = scores(counts), image_scores(found_on.images, found_on.boundaries, found_on.things)
    if config.classes:
        extra["classes_miou"] = mean_iou(scores(found_on.counts), config.classes, names)
    where = f"{found.path.name} on {config.data} {_split(config)}, {len(examples)} images"
    Console().print(table(result, names, where))
    Console().print(", ".join(f"{name.replace('_', ' ')} {_percent(value)} %" for name, value in extra.items()))
    if config.json is not None:
        plain = {name: None if value != value else value for name, value in extra.items()}
        write_scores(config, found, {**as_json(result, names), **plain}, _split(config), len(examples))
    return 0


def _measured(config: Evaluate, found: Checkpoint, examples: LabelledImages) -> Measured:
    """One pass over the set as the options say."""
    import torch

    from fastseg.loop import DTYPES, chosen_device, chosen_precision

    things = instance_counts(examples, config.data) if config.instances else None
    record, device = found.record, chosen_device(config.device)
    dtype = DTYPES.get(chosen_precision(config.precision, device))
    size, net = seen_size(config, found), restored(found).to(device)
    if reads_labels(found):
        examples = LabelPictures(examples, size)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        return measured(
            net, examples, size, record.normalisation, config.batch, config.views, config.boundaries, things
        )


def seen_size(config: Evaluate, found: Checkpoint) -> tuple[int, int]:
    """(height, width) that the network sees."""
    from fastseg.methods import parse_size

    return parse_size(config.size) if config.size else found.record.size


def write_scores(config: Evaluate, found: Checkpoint, scores: Mapping[str, Any], split: str, images: int) -> None:
    """None; the scores and how they were taken are written to config.json."""
    assert config.json is not None, "asked for"
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    size = seen_size(config, found)
    protocol = {**plain, "checkpoint": str(found.path), "split": split, "size": size, "images": images}
    config.json.write_text(json.dumps({**scores, "protocol": protocol}, indent=1) + "\n")


def _split(config: Evaluate) -> str:
    return config.split or "val"


def check_writable(path: Path) -> None:
    """None, the file's folder made; OSError naming the path when it cannot be written: told before hours of work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written", str(path))


def agreeing(found: Checkpoint, examples: LabelledImages) -> LabelledImages:
    """The set with the network's classes, pixels of others left out, which is said; ValueError for a class it lacks."""
    from fastseg.data.chosen_classes import with_classes

    ours, theirs = found.record.classes, tuple(examples.class_names)
    if len(ours) < len(theirs) and set(ours) <= set(theirs):
        print(f"{found.path} knows {len(ours)} of the {len(theirs)} classes; pixels of the others are left out")
        return with_classes(examples, ours)
    check_classes_agree(found, examples)
    return examples


def check_classes_agree(found: Checkpoint, examples: LabelledImages) -> None:
    """None; ValueError when the network's classes are not the data set's."""
    ours, theirs = found.record.classes, tuple(examples.class_names)
    if ours != theirs:
        differing = next((f"{a!r} against {b!r}" for a, b in zip(ours, theirs, strict=False) if a != b), "")
        raise ValueError(
            f"{found.path} was trained for {len(ours)} classes, the data set has {len(theirs)}"
            + (f"; the first that differs: {differing}" if differing else "")
        )


@dataclass
class Measured:
    """What a pass over a set gave: the confusion matrix of the whole, of each image, and boundary F-scores."""

    counts: Counts
    images: list[Counts]
    boundaries: list[Floats]
    things: InstanceCounts | None = None


def measured(
    net: Module,
    examples: LabelledImages,
    size: tuple[int, int],
    normalisation: Normalisation,
    batch: int = 4,
    views: Views | None = None,
    boundaries: bool = False,
    things: InstanceCounts | None = None,
) -> Measured:
    """One pass over the set, predictions at the labels' own size; `things` of a LabelledInstances are counted on.

    Leaves the network in evaluation mode. ValueError: an empty set, or a label that is none, by its id.
    """
    import numpy as np

    from fastseg.metrics import confusion
    from fastseg.metrics_image import boundary_f

    if not len(examples):
        raise ValueError("there is no labelled image to evaluate on")
    names, classes = examples.ids(), len(examples.class_names)
    found = Measured(np.zeros((classes, classes), np.int64), [], [], things)
    for start in range(0, len(examples), batch):
        pairs = [examples[index] for index in range(start, min(start + batch, len(examples)))]
        shapes = [label.shape for _, label in pairs]
        depths = depths_of(net, examples, range(start, start + len(pairs)), size)
        looks = predictions(net, [resized(image, size) for image, _ in pairs], shapes, normalisation, views, depths)
        guesses = (look.cpu().numpy() for look in looks)
        for index, (_, label), guess in zip(count(start), pairs, guesses, strict=False):
            try:
                found.images.append(confusion(label, guess, classes))
            except ValueError as error:
                raise ValueError(f"{names[index]}: {error}") from error
            found.counts += found.images[-1]
            if boundaries:
                found.boundaries.append(boundary_f(label, guess, classes))
            if things is not None:
                things.add(label, guess, cast(LabelledInstances, examples).instances(index))
    return found


def instance_counts(examples: LabelledImages, name: str) -> InstanceCounts:
    """The counts of a set's instances before its first image; ValueError when its things are not numbered."""
    from fastseg.metrics_image import InstanceCounts, mean_instance_sizes

    if not hasattr(examples, "instances"):
        raise ValueError(f"--instances needs a set whose things are numbered, as cityscapes; {name} has none")
    numbered = cast(LabelledInstances, examples)
    pairs = ((numbered[index][1], numbered.instances(index)) for index in range(len(numbered)))
    return InstanceCounts(mean_instance_sizes(pairs, len(numbered.class_names)))


def confusion_of(
    net: Module, examples: LabelledImages, size: tuple[int, int], normalisation: Normalisation, batch: int = 4
) -> Counts:
    """The confusion matrix (classes, classes) int64 of the whole set, one look at each image; see `measured`."""
    return measured(net, examples, size, normalisation, batch).counts


def table(result: Scores, class_names: Sequence[str], title: str) -> Table:
    """The scores in per cent: a line a class, then the means over the classes present."""
    found = Table("class", title=title, title_justify="left")
    for column in ("IoU %", "accuracy %", "pixels"):
        found.add_column(column, justify="right")
    for name, iou, accuracy, pixels in zip(class_names, result.iou, result.accuracy, result.pixels, strict=True):
        found.add_row(name, _percent(iou), _percent(accuracy), f"{pixels:,}")
    found.add_section()
    found.add_row("mean of classes", _percent(result.miou), _percent(result.class_accuracy), "")
    found.add_row("all pixels", "", _percent(result.global_accuracy), f"{result.pixels.sum():,}")
    return found


def _percent(fraction: float) -> str:
    return "-" if fraction != fraction else f"{100 * fraction:.2f}"


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg evaluate ...`."""
    return run(Evaluate, main, argv, prog="fastseg evaluate")


if __name__ == "__main__":
    sys.exit(cli())
