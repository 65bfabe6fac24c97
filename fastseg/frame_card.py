"""One frame of a report page: colour with up, depth, normals, the HN label, the label over the colour, figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.charts import up_arrow
from fastseg.data.images import decode_color
from fastseg.data.shards import label_of
from fastseg.frames import Frame
from fastseg.pictures import (
    Picture,
    depth_picture,
    label_picture,
    normals_picture,
    overlay,
    resized,
)
from fastseg.report import Markup, joined, note, picture, tag

Metres = npt.NDArray[np.float32]


def tilt_deg(up: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Degrees between up (..., 3) and the level camera's up (0, -1, 0)."""
    return np.asarray(np.degrees(np.arccos(np.clip(-np.asarray(up, np.float64)[..., 1], -1.0, 1.0))))


def metres(frame: Frame) -> Metres:
    """Depth (H, W) float32 in metres, NaN where there is no measurement."""
    depth = np.asarray(frame.depth, np.float32) * np.float32(frame.depth_scale)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def frame_card(
    row: Mapping[str, Any],
    palette: Picture,
    frame: Frame | None,
    absent: str,
    settings: Mapping[str, Any],
    width: int,
) -> Markup:
    """The card of a labelled frame: `row` of the shard, and its `frame` from the source or a sentence why not."""
    label, up = label_of(row), np.asarray(row["up"], np.float64)
    painted = label_picture(fitted(label, width, smooth=False), palette)
    figures = []
    if row["image"] is not None:
        colour = resized(decode_color(row["image"], row["id"]), painted.shape[0], painted.shape[1], smooth=True)
        arrow = up_arrow(up, colour.shape[0], colour.shape[1], None if frame is None else frame.camera)
        figures.append(
            picture(colour, "colour and up" if frame is None else "colour, up and horizon", kind="jpeg", over=arrow)
        )
    if frame is not None:
        figures += depth_figures(frame, settings, width)
    figures.append(picture(painted, "HN label"))
    if row["image"] is not None:
        figures.append(picture(overlay(colour, painted), "label over colour", kind="jpeg"))
    missing = note(absent, class_="note warn") if frame is None and absent else Markup("")
    strip = tag("div", *figures, class_="strip")
    return tag("div", tag("h3", row["id"]), strip, missing, note(_sentence(row, label)), class_="card")


def depth_figures(frame: Frame, settings: Mapping[str, Any], width: int) -> list[Markup]:
    """Depth and normals (by the op `normals` with its settings) of a frame as figures."""
    from fastseg.ops.normals import normals

    depth = metres(frame)
    _, found = normals(np.nan_to_num(depth), frame.camera, **settings)
    near, far = (np.nan, np.nan) if np.isnan(depth).all() else np.nanpercentile(depth, [1, 99])
    shown = fitted(depth_picture(depth), width, smooth=False)
    turned = fitted(normals_picture(found), width, smooth=False)
    return [picture(shown, f"depth, {near:.2f} m (light) to {far:.2f} m"), picture(turned, "normals")]


def rejected_card(row: Mapping[str, Any], frame: Frame | None, settings: Mapping[str, Any], width: int) -> Markup:
    """The card of a rejected frame, with what can be shown of it."""
    figures: list[Markup] = []
    if frame is not None:
        if frame.image is not None:
            colour = fitted(decode_color(frame.image, frame.id), width, smooth=True)
            figures.append(picture(colour, "colour", kind="jpeg"))
        figures += depth_figures(frame, settings, width)
    reason = joined([tag("b", row["reason"]), ": ", row["detail"]])
    return tag("div", tag("h3", row["id"]), tag("div", *figures, class_="strip"), note(reason), class_="card")


def fitted(pixels: npt.NDArray[np.uint8], width: int, *, smooth: bool) -> npt.NDArray[np.uint8]:
    """The picture or label at most `width` columns wide, its shape kept."""
    height, columns = pixels.shape[:2]
    if columns <= width:
        return pixels
    return resized(pixels, max(1, round(height * width / columns)), width, smooth=smooth)


def _sentence(row: Mapping[str, Any], label: npt.NDArray[np.uint8]) -> str:
    size = f"{row['width']}x{row['height']}"
    disagreement = row["disagreement_deg"]
    apart = "" if math.isnan(disagreement) else f", gravity estimators {disagreement:.2f}° apart"
    return (
        f"{size}, camera {-row['floor_m']:.2f} m above the floor, tilted {float(tilt_deg(row['up'])):.1f}°, "
        f"{row['aligned_fraction']:.0%} of the floor points face up, {row['valid_fraction']:.0%} of depth valid, "
        f"{np.mean(label != 255):.0%} of pixels labelled{apart}"
    )
