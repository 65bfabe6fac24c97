"""The page of a gated network: scores of every pass, and pictures of what its gates choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastseg.pictures import class_palette, depth_picture, heat_picture, label_picture, oklch, overlay, resized
from fastseg.report import Markup, facts, note, page, picture, section, swatch, table, tag

if TYPE_CHECKING:
    from fastseg.gates import Seen, Truth

Picture = npt.NDArray[np.uint8]
CHANGED = (232, 90, 60)


def write_page(
    path: Path, scores: Mapping[str, Any], drawn: Sequence[tuple[str, Truth, list[Seen]]], class_names: Sequence[str]
) -> None:
    """None; the page is written whole or not at all."""
    from fastseg.data.shards import replace_file

    last, bins = scores["passes"][-1], len(scores["edges"]) + 1
    tiles = [("mIoU of the last pass", f"{100 * last['miou']:.1f} %"), ("passes", str(len(scores["passes"]))),
             ("images scored", str(scores["images"])), ("depth bins", str(bins))]  # fmt: skip
    edges = ", ".join(f"{edge:g}" for edge in scores["edges"])
    body = [
        tag("h1", "Gates of a network"),
        note(f"{scores['network']}; edges of the depth bins at {edges} m."),
        facts(tiles),
        section("Every pass", _passes(scores["passes"]), note("Gates: the mean share of each branch, nearest first.")),
        _distances(scores),
        section("Legend", _legend(class_names, bins)),
    ]
    body += [section(name, *_strips(truth, passes, len(class_names), bins)) for name, truth, passes in drawn]
    replace_file(path, page("Gates of a network", *body).encode())


def bin_palette(bins: int) -> Picture:
    """Colours uint8 (bins, 3) of depth bins: near light and warm, far dark and cold."""
    t = np.linspace(0.0, 1.0, bins)
    return oklch(0.88 - 0.5 * t, 0.13, 75.0 + 195.0 * t)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _passes(passes: Sequence[Mapping[str, Any]]) -> Markup:
    heads = ["pass", "mIoU %", "pixels %", "bin right %", "depth < 1.25 %", "abs rel", "rmse m", "gates %"]
    rows = []
    for number, each in enumerate(passes):
        depth = each.get("depth", {})
        shares = ", ".join(f"{100 * share:.0f}" for share in each["gates"])
        rows.append([
            "first" if not number else f"loop {number}", _percent(each["miou"]), _percent(each["global_accuracy"]),
            _percent(each.get("bin_accuracy")), _percent(depth.get("delta1")),
            f"{depth['rel']:.3f}" if depth else "-", f"{depth['rmse']:.3f}" if depth else "-", shares,
        ])  # fmt: skip
    return table(heads, rows, numeric=range(1, 7))


def _distances(scores: Mapping[str, Any]) -> Markup:
    """The last pass's mIoU by the true distance of a pixel."""
    found = scores["passes"][-1].get("distances")
    if not found:
        return Markup("")
    ends = ["0", *(f"{edge:g}" for edge in scores["edges"]), ""]
    names = [f"{low} to {high} m" if high else f"beyond {low} m" for low, high in pairwise(ends)]
    rows = [[name, *(_percent((each or {}).get(key)) for key in ("miou", "global_accuracy"))]
            for name, each in zip(names, found, strict=False)]  # fmt: skip
    return section("By distance", table(["true depth", "mIoU %", "pixels %"], rows, numeric=(1, 2)))


def _legend(class_names: Sequence[str], bins: int) -> Markup:
    classes = [tag("span", swatch(c), n) for c, n in zip(class_palette(len(class_names)), class_names, strict=True)]
    depth = [tag("span", swatch(c), f"bin {k + 1}") for k, c in enumerate(bin_palette(bins))]
    near = note("Bin 1 is the nearest and has the widest pooling field.")
    return tag("div", tag("p", *classes, class_="legend"), tag("p", *depth, class_="legend"), near)


def _strips(truth: Truth, passes: Sequence[Seen], classes: int, bins: int) -> Iterator[Markup]:
    """The image and its truth, then a row a pass."""
    size, palette, depths = truth.image.shape[:2], class_palette(classes), bin_palette(bins)

    def small(pixels: Picture, smooth: bool = False) -> Picture:
        height, width = size
        scale = min(1.0, 320 / width)
        return resized(pixels, round(height * scale), round(width * scale), smooth=smooth)

    known = [picture(small(truth.image, True), "image", kind="jpeg"),
             picture(small(label_picture(truth.label, palette)), "label")]  # fmt: skip
    if truth.depth is not None and truth.bins is not None:
        known.append(picture(small(depth_picture(truth.depth)), "measured depth"))
        known.append(picture(small(label_picture(truth.bins, depths)), "its bins"))
    yield tag("div", *known, class_="strip")
    moved = [None, *(before.classes != after.classes for before, after in pairwise(passes))]
    for number, (seen, change) in enumerate(zip(passes, moved, strict=True)):
        name = f"loop {number}" if number else "first pass"
        row = [picture(small(overlay(truth.image, label_picture(seen.classes, palette))), name)]
        if change is not None:
            painted = np.where(change[..., None], np.array(CHANGED, np.uint8), _grey(truth.image))
            row.append(picture(small(painted), f"what it changed: {100 * change.mean():.1f} % of the pixels"))
        if len(seen.gate) > 1:
            row.append(picture(small(label_picture(seen.gate.argmax(0), depths)), "largest gate"))
            row += [picture(small(heat_picture(gate)), f"gate {k + 1}") for k, gate in enumerate(seen.gate)]
        if seen.depth is not None:
            row.append(picture(small(depth_picture(seen.depth)), "predicted depth"))
        yield tag("div", *row, class_="strip")


def _grey(image: Picture) -> Picture:
    return np.repeat((image.mean(2, keepdims=True) * 0.5 + 60).astype(np.uint8), 3, axis=2)
