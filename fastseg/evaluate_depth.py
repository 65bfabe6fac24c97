"""Evaluate a depth network on measured depth: what `fastseg evaluate` does with the checkpoint of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import Normalisation, resized
from fastseg.data.measured import WITH_DEPTH, WithDepth, open_measured
from fastseg.inference_depth import Limits, check_views, depth_alone, depth_limits, depths, in_metres
from fastseg.metrics_depth import GARG, DepthRules, DepthScores, DepthSums
from fastseg.tensors import Module

if TYPE_CHECKING:
    from rich.table import Table

    from fastseg.evaluate import Evaluate

COLUMNS = {
    "abs rel": "rel", "sq rel": "sq_rel", "rmse": "rmse", "log rmse": "rmse_log", "<1.25": "delta1",
    "<1.25^2": "delta2", "<1.25^3": "delta3",
}  # fmt: skip


class DepthImages(Protocol):
    """Images with depth: the first of `self[i]` is uint8 (H, W, 3) RGB, `depth(i)` (H, W) float32 metres, 0 = none."""

    def ids(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.unsignedinteger]]: ...

    def depth(self, index: int) -> npt.NDArray[np.float32]: ...


def evaluate_depth(config: Evaluate, found: Checkpoint) -> int:
    """0; prints the scores of a depth network's checkpoint and writes them as JSON where asked.

    ValueError: options that are about classes, a set without depth, or one where no pixel has depth within the limits.
    """
    import torch
    from rich.console import Console

    from fastseg.evaluate import seen_size, write_scores
    from fastseg.inference import restored
    from fastseg.loop import DTYPES, chosen_device

    _check_asked(config, found)
    examples = open_measured(cast(WithDepth, config.data), config.root, config.split)
    device, dtype = chosen_device(config.device), DTYPES.get(config.precision)
    net, record, sums = restored(depth_alone(found)).to(device), found.record, rules(config.depth, found)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        measured_depth(
            net, examples, seen_size(config, found), record.normalisation, depth_limits(found), sums, config.batch,
            config.views.flip,
        )  # fmt: skip
    scaled = "median scaling" if sums.median_scaling else "no scaling"
    where = f"{found.path.name} on {config.data} {config.split}".strip()
    print_to = Console()
    print_to.print(table({"images": sums.mean(), "pixels": sums.scores()}, f"{where}, {scaled}"))
    ratios = np.array(sums.ratios)
    print_to.print(
        f"true to predicted median: {ratios.mean():.3g}, deviation {100 * ratios.std() / ratios.mean():.1f} %"
    )
    if config.json is not None:
        write_scores(config, found, as_json(sums, examples.ids()), config.split, len(examples))
    return 0


def rules(asked: DepthRules, found: Checkpoint) -> DepthSums:
    """The sums of a checkpoint's scores, its scale forgiven where that is asked for, or where it is not known."""
    scaling = not in_metres(found) if asked.scaling == "auto" else asked.scaling == "median"
    return DepthSums(asked.nearest, asked.farthest, scaling, GARG if asked.crop == "garg" else None)


def measured_depth(
    net: Module,
    examples: DepthImages,
    size: tuple[int, int],
    normalisation: Normalisation,
    limits: Limits,
    sums: DepthSums,
    batch: int = 4,
    flip: bool = False,
) -> DepthSums:
    """`sums` after one pass over the set, predictions at the depth's own size.

    ValueError: an empty set, or depth of another size than its image, by its id.
    """
    if not len(examples):
        raise ValueError("there is no image with depth to evaluate on")
    names = examples.ids()
    for start in range(0, len(examples), batch):
        chosen = range(start, min(start + batch, len(examples)))
        pairs = [(resized(examples[index][0], size), examples.depth(index)) for index in chosen]
        looks = depths(
            net, [image for image, _ in pairs], [true.shape for _, true in pairs], normalisation, limits, flip
        )
        for index, (_, true), look in zip(count(start), pairs, looks, strict=False):
            try:
                sums.add(true, look.cpu().numpy())
            except ValueError as error:
                raise ValueError(f"{names[index]}: {error}") from error
    return sums


def as_json(sums: DepthSums, names: Sequence[str]) -> dict[str, Any]:
    """The mean of the images' scores, then over_pixels, the medians' ratio and its deviation, and per_image.

    An image without a pixel of depth within the limits has null scores.
    """
    empty = dict.fromkeys(DepthScores.__dataclass_fields__) | {"pixels": 0}
    images = [{"id": name, **(asdict(each) if each else empty)} for name, each in zip(names, sums.images, strict=True)]
    ratios = {"median_ratio": float(np.mean(sums.ratios)), "median_ratio_deviation": float(np.std(sums.ratios))}
    return {**asdict(sums.mean()), "over_pixels": asdict(sums.scores()), **ratios, "per_image": images}


def table(rows: dict[str, DepthScores], title: str) -> Table:
    """The scores for the terminal, a line each."""
    from rich.table import Table

    found = Table("mean over", title=title, title_justify="left")
    for column in COLUMNS:
        found.add_column(column, justify="right")
    for name, scores in rows.items():
        found.add_row(name, *(f"{getattr(scores, field):.3f}" for field in COLUMNS.values()))
    return found


def _check_asked(config: Evaluate, found: Checkpoint) -> None:
    """None; ValueError for options that a depth network has no answer to."""
    if config.data not in WITH_DEPTH:
        listed = ", ".join(WITH_DEPTH)
        raise ValueError(f"{found.path} predicts depth, and {config.data} has none; --data is one of {listed}")
    labels = {"classes": config.classes, "boundaries": config.boundaries, "instances": config.instances}
    for name, value in labels.items():
        if value:
            raise ValueError(f"--{name} is for networks that label pixels; {found.path} predicts depth")
    check_views(config.views, found)
