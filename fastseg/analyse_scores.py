"""What an analysis measures of each network: its scores at several sizes of the image, its depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastseg.analyse_runs import Trained
from fastseg.checkpoint import Checkpoint
from fastseg.frames import LabelledImages
from fastseg.inference_depth import predicts_depth
from fastseg.metrics import Scores, mean_iou

Row = dict[str, Any]
SMALLEST = 32  # pixels of a side


def size_at(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) that a network of training size `size` sees at a scale, each side at least 32."""
    height, width = (max(SMALLEST, round(side * scale)) for side in size)
    return height, width


def score(
    run: Trained, examples: LabelledImages, scales: Sequence[float], chosen: Sequence[str], batch: int, device: str
) -> Row:
    """The row of a network: name, images, seed, network, size, and `scales`, its scores at each scale of that size.

    Of a depth network `depth`, its scores at the training size, where the images have depth, and no `scales`.
    ValueError: a network of other classes than the images'.
    """
    found = run.checkpoint()
    record = found.record
    row: Row = {"name": run.name, "images": run.images, "seed": run.seed, "network": record.network}
    row |= {"size": list(record.size), "steps": record.step}
    if predicts_depth(found):
        depth = _depth(found, examples, batch, device) if hasattr(examples, "depth") else None
        return row | {"depth": depth}
    return row | {"scales": _labels(found, examples, scales, chosen, batch, device)}


def _labels(
    found: Checkpoint, examples: LabelledImages, scales: Sequence[float], chosen: Sequence[str], batch: int, device: str
) -> list[Row]:
    from fastseg.evaluate import agreeing, confusion_of
    from fastseg.inference import check_labels_pixels, check_reads_images, restored
    from fastseg.loop import chosen_device
    from fastseg.metrics import scores

    check_labels_pixels(found)
    check_reads_images(found)
    examples = agreeing(found, examples)
    record, net = found.record, restored(found).to(chosen_device(device))
    rows = []
    for scale in scales:
        size = size_at(record.size, scale)
        result = scores(confusion_of(net, examples, size, record.normalisation, batch))
        rows.append({"scale": scale, "seen": list(size), **_figures(result, chosen, examples.class_names)})
    return rows


def _figures(result: Scores, chosen: Sequence[str], names: Sequence[str]) -> Row:
    """Fractions, None where the ground truth has nothing of the kind: no such class, or no label at all."""
    row: Row = {name: _known(getattr(result, name)) for name in ("miou", "global_accuracy", "class_accuracy")}
    if chosen:
        row["classes_miou"] = _known(mean_iou(result, chosen, names))
    row["iou"] = {name: _known(iou) for name, iou in zip(names, result.iou, strict=True)}
    return row


def _known(value: float) -> float | None:
    return None if value != value else float(value)


def _depth(found: Checkpoint, examples: Any, batch: int, device: str) -> Row:
    from fastseg.evaluate_depth import measured_depth, rules
    from fastseg.inference import restored
    from fastseg.inference_depth import depth_alone, depth_limits
    from fastseg.loop import chosen_device
    from fastseg.metrics_depth import DepthRules

    record, sums = found.record, rules(DepthRules(), found)
    net = restored(depth_alone(found)).to(chosen_device(device))
    measured_depth(net, examples, record.size, record.normalisation, depth_limits(found), sums, batch)
    return {**asdict(sums.mean()), "median_scaling": sums.median_scaling}
