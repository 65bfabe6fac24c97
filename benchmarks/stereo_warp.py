"""Does true disparity warp the right picture of a stereo pair onto the left one better than SGBM's does?

The pair is read by `fastseg.data.stereo_clips` (principal points brought together) and warped by the op `warp` through
depth and the pair's known pose, as training on stereo does. Errors are means over the pixels of

same            both disparities known, the right camera sees the point by either
own             each disparity's own known pixels
unoccluded      of `same`, those that no nearer point hides from the right camera, by the true disparity
agreed          of those, where SGBM is within a pixel of the truth

of all of them those alone whose whole 3x3 window is known: an unknown neighbour would count as black in SSIM. SGBM
chooses, pixel by pixel, what looks alike, so it explains also what the right camera does not see; the truth does not.
`moved` is the truth plus a constant: its least error at 0 says that there is none to be had by a shift.

photometric     alpha (1 - SSIM) / 2 + (1 - alpha) |I - I'|, as in training, colours in [0, 1]
colour          |I - I'| alone, the mean over channels, of 255
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fastseg.data.images import decode_color, read_bytes
from fastseg.data.stereo_clips import StereoClips
from fastseg.ops.photometric import photometric_loss, warp
from fastseg.pictures import Picture, encoded

MOTORCYCLE = {"fx": 994.978, "fy": 994.978, "cx": 311.193, "cy": 254.877, "width": 741, "height": 500}
BASELINE, DOFFS = 0.193001, 31.086
MOVED = (-0.2, -0.1, 0.1, 0.2)  # pixels
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Warped:
    """What a disparity makes of the right picture: its errors (H, W) and where it says something that is in view."""

    photometric: Floats
    colour: Floats
    known: Mask
    picture: Picture


def sgbm(left: Picture, right: Picture, most: int = 64) -> Floats:
    """OpenCV's semi-global disparity (H, W) in pixels with its usual settings, 0 where it gives none."""
    window = 5
    matcher = cv2.StereoSGBM.create(
        minDisparity=0, numDisparities=most, blockSize=window, P1=8 * 3 * window**2, P2=32 * 3 * window**2,
        disp12MaxDiff=1, uniquenessRatio=10, speckleWindowSize=100, speckleRange=2,
    )  # fmt: skip
    found = matcher.compute(left[..., ::-1].copy(), right[..., ::-1].copy()).astype(np.float32) / 16
    return np.where(found > 0, found, np.float32(0))


def warped(folder: Path, disparity: Floats) -> Warped:
    """The right picture of the pair in `folder` looked up through a disparity (H, W) of its left one, 0 = unknown."""
    (folder / "disparity").mkdir(exist_ok=True)
    np.save(folder / "disparity" / "pair.npy", disparity)
    clips = StereoClips(folder)
    left, sources, camera, poses = clips.clip(0)
    assert poses is not None and camera is not None
    planes = (torch.from_numpy(np.moveaxis(each, 2, 0).copy())[None] for each in (left, sources[0]))
    target, source = (each.float() / 255 for each in planes)
    depth = torch.from_numpy(clips.depth(0).copy())[None]
    intrinsics = torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy]])
    pose = torch.from_numpy(poses[:1])
    found, valid = warp(source, depth, intrinsics, pose, padding="zeros")
    error = photometric_loss(target, source[:, None], depth, intrinsics, pose[:, None], padding="zeros")[0]
    colour = 255 * (found - target).abs().mean(1)
    picture = (found[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return Warped(error[0].numpy(), colour[0].numpy(), valid[0].bool().numpy(), picture)


def unoccluded(disparity: Floats, known: Mask) -> Mask:
    """Where a point (H, W) is not hidden in the right picture: no pixel of its row lands on or beside it, 1 nearer."""
    height, width = disparity.shape
    columns = np.arange(width)
    seen = np.zeros_like(known)
    for row in range(height):
        at = np.rint(columns - disparity[row]).astype(np.int64)
        inside = known[row] & (at >= 0)
        nearest = np.zeros(width, np.float32)
        np.maximum.at(nearest, at[inside], disparity[row][inside])
        around = np.pad(nearest, 1)
        nearest = np.maximum(nearest, np.maximum(around[:-2], around[2:]))
        seen[row, inside] = disparity[row][inside] > nearest[at[inside]] - 1
    return seen


def stereo_scores(data: Path) -> tuple[dict[str, Any], dict[str, Picture]]:
    """The errors of true and SGBM disparity on the Motorcycle pair in `data`, and pictures of what they make of it."""
    left, right = (decode_color(read_bytes(data / f"motorcycle_{side}.png"), side) for side in ("left", "right"))
    with np.load(data / "motorcycle_disp.npz", allow_pickle=False) as stored:
        raw = np.asarray(stored["arr_0"], np.float32)
    true, guess = np.where(np.isfinite(raw) & (raw > 0), raw, np.float32(0)), sgbm(left, right)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stereo.json").write_text(json.dumps(MOTORCYCLE | {"baseline": BASELINE, "doffs": DOFFS}))
        for side, picture in (("left", left), ("right", right)):
            (folder / side).mkdir()
            (folder / side / "pair.png").write_bytes(encoded(picture))
        found = {"true": warped(folder, true), "sgbm": warped(folder, guess)}
        moved = {by: warped(folder, np.where(true > 0, true + np.float32(by), np.float32(0))) for by in MOVED}
    width = found["true"].known.shape[1]
    true, guess = true[:, :width], guess[:, :width]
    masks = _masks(true, guess, found["true"].known, found["sgbm"].known)
    off, clear = np.abs(true - guess)[masks["same"]], masks["unoccluded"]
    result = {
        "pixels": {"all": true.size, **{name: int(mask.sum()) for name, mask in masks.items()}},
        **{name: _means(each, masks | {"own": _whole(each.known)}) for name, each in found.items()},
        "moved_px": {f"{by:g}": _means(each, {"unoccluded": clear})["unoccluded"] for by, each in moved.items()},
        "unwarped_colour": float(np.abs(left.astype(np.float32) - right).mean(2)[:, :width][clear].mean()),
        "sgbm_off_true": {"median_px": float(np.median(off)), "above_1px": float((off > 1).mean())},
    }
    return result, {"left": left[:, :width], **{name: each.picture for name, each in found.items()}}


def _masks(true: Floats, guess: Floats, known: Mask, guessed: Mask) -> dict[str, Mask]:
    same = _whole(known & guessed)
    clear = same & unoccluded(true, true > 0)
    return {"same": same, "unoccluded": clear, "agreed": clear & (np.abs(true - guess) < 1)}


def _whole(known: Mask) -> Mask:
    """Where all of a 3x3 window (H, W) is known."""
    return np.asarray(cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0)


def _means(found: Warped, masks: dict[str, Mask]) -> dict[str, dict[str, float]]:
    return {
        name: {"photometric": float(found.photometric[mask].mean()), "colour": float(found.colour[mask].mean())}
        for name, mask in masks.items()
    }
