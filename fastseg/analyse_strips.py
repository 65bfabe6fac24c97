"""An analysis's pictures: for each image and network a strip of depth, Grad-CAM, prediction and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.analyse_look import Look
from fastseg.analyse_runs import Trained
from fastseg.checkpoint import Checkpoint, CheckpointError, load
from fastseg.frames import LabelledImages
from fastseg.inference_depth import predicts_depth
from fastseg.pictures import Picture, class_palette, depth_picture, label_picture, resized
from fastseg.report import Markup, joined, note, picture, swatch, tag
from fastseg.weights import history

WIDEST = 320  # pixels of a picture on the page
PREDICTION, TRUTH = "prediction", "truth"


@dataclass(frozen=True)
class Shown:
    """An image on the page: its place in the set, id, pixels (H, W, 3), label (H, W), depth (H, W) metres, if any."""

    index: int
    name: str
    image: Picture
    label: npt.NDArray[np.unsignedinteger]
    depth: npt.NDArray[np.float32] | None


def strips(
    runs: Sequence[Trained], examples: LabelledImages, count: int, layers: Sequence[str], device: str
) -> list[Markup]:
    """A card for each of `count` images spread over the set, with a strip for each network."""
    if not count:
        return []
    names, classes = examples.ids(), examples.class_names
    indices = sorted({int(index) for index in np.linspace(0, len(examples) - 1, count).round()})
    shown = [Shown(index, names[index], *examples[index], _measured(examples, index)) for index in indices]
    rows = [_strips_of(run, examples, shown, layers, device) for run in runs]  # one network is in memory at a time
    palette = class_palette(len(classes))
    legend = (tag("span", swatch(colour), name) for colour, name in zip(palette, classes, strict=True))
    cards = [
        tag("div", tag("h3", each.name), *(row[place] for row in rows), class_="card")
        for place, each in enumerate(shown)
    ]
    return [tag("p", joined(legend), class_="note legend"), *cards]


def _strips_of(
    run: Trained, examples: LabelledImages, shown: Sequence[Shown], layers: Sequence[str], device: str
) -> list[Markup]:
    """A network's strip of each image."""
    found = run.checkpoint()
    behind = depth_behind(found)
    palette, look = class_palette(len(examples.class_names)), Look(found, device)
    is_depth = predicts_depth(found)
    numbers = np.array([0 if is_depth else examples.class_names.index(name) for name in found.record.classes])
    measuring = look if is_depth else Look(behind, device) if behind is not None else None
    strips = []
    for each in shown:
        gates = look.gates(examples, each.index)
        cells: list[tuple[str, Picture | None]] = [("image", each.image)]
        depth = measuring.depth(each.image) if measuring is not None else None
        cells.append(("no depth network", None) if depth is None else ("predicted depth", depth_picture(depth)))
        cells += [(f"Grad-CAM, {_layer(name)}", look.heat(each.image, name, gates)) for name in layers]
        if is_depth and each.depth is not None:
            cells.append(("measured depth", depth_picture(each.depth)))
        elif not is_depth:
            cells.append((PREDICTION, label_picture(numbers[look.classes(each.image, gates)], palette)))
            cells.append((TRUTH, label_picture(each.label, palette)))
        strips.append(_strip(f"{run.name}{f', {run.images} images' * bool(run.images)}", cells, len(layers) + 4))
    return strips


def depth_behind(found: Checkpoint) -> Checkpoint | None:
    """The depth network that a checkpoint's weights came from, where its folder is still there."""
    if predicts_depth(found):
        return None
    for name in history(found.record.config):
        if Path(name).is_dir():
            try:
                earlier = load(Path(name))
            except CheckpointError:
                return None
            if predicts_depth(earlier):
                return earlier
    return None


def _measured(examples: LabelledImages, index: int) -> npt.NDArray[np.float32] | None:
    found: npt.NDArray[np.float32] | None = examples.depth(index) if hasattr(examples, "depth") else None
    return found


def _layer(name: str) -> str:
    if name == "-1":
        return "last block"
    return f"block {name}" if name.removeprefix("-").isdecimal() else name


def _strip(title: str, cells: Sequence[tuple[str, Picture | None]], columns: int) -> Markup:
    """The network's name over its pictures, side by side; what there is none of is an empty place that says so."""
    figures = [
        tag("figure", tag("figcaption", caption)) if pixels is None else _figure(pixels, caption)
        for caption, pixels in cells
    ]
    style = f"display:grid;gap:6px;grid-template-columns:repeat({columns},1fr)"
    return joined([note(title), tag("div", *figures, style=style)])


def _figure(pixels: Picture, caption: str) -> Markup:
    """The picture, no wider than the page shows it; classes stay the colours that they are."""
    height, width = pixels.shape[:2]
    smooth = caption not in (PREDICTION, TRUTH)
    if width > WIDEST:
        pixels = resized(pixels, max(1, round(height * WIDEST / width)), WIDEST, smooth=smooth)
    return picture(pixels, caption, kind="jpeg" if smooth else "png")
