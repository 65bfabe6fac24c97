"""L11: no damage of a data set ends a run, is rejected without a known reason, or becomes a false label."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzz import SEEDS, Files, Kit, Tally, encoded, run, scene_m

from fastseg.data.folder import Folder
from fastseg.frames import Camera

CAMERA = Camera(100.0, 100.0, 79.5, 59.5, 120, 160)
MILLIMETRES = np.rint(scene_m(CAMERA) * 1000).astype(np.uint16)
COLOR = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
POSE = b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"
RAW = "raw pixels carry no checksum"
TEXT = "a digit becomes another digit"


def about(**other: object) -> bytes:
    camera = {"fx": 100, "fy": 100, "cx": 79.5, "cy": 59.5, "width": 160, "height": 120, "depth_scale": 0.001}
    return json.dumps(camera | other).encode()


ABSURD = {
    f"intrinsics {key} = {value}": {"intrinsics.json": about(**{key: value})}
    for key, value in {
        "fx": 1e-9, "fy": 1e30, "cx": -5000, "cy": 1e9, "width": 0, "height": 2**40, "depth_scale": 1e6,
        "color": "../..",
    }.items()
}  # fmt: skip


def folder_kit(ending: str, stored: np.ndarray = MILLIMETRES, kind: str = "", unseen: str = "") -> Kit:
    depth = f"depth/a.{ending}"
    scale = 0.001 if stored.dtype == np.uint16 else 1.0
    files = {"intrinsics.json": about(depth_scale=scale), "color/a.png": encoded(COLOR, "PNG"), "poses/a.txt": POSE}

    def encode(array: np.ndarray) -> Files:
        return {depth: encoded(array, kind or ending)}

    names = {"intrinsics.json": TEXT} | ({depth: unseen} if unseen else {})
    return Kit(
        files | encode(stored), "a", depth, stored, encode, Folder, ("color/a.png", "poses/a.txt"), names, ABSURD
    )


KITS: dict[str, Callable[[], Kit]] = {
    "folder png": lambda: folder_kit("png", kind="PNG"),
    "folder npy": lambda: folder_kit("npy", unseen=RAW),
    "folder npy metres": lambda: folder_kit("npy", scene_m(CAMERA).astype(np.float32), unseen=RAW),
    "folder tiff": lambda: folder_kit("tiff", kind="TIFF", unseen=RAW),
    "folder tiff metres": lambda: folder_kit("tiff", scene_m(CAMERA).astype(np.float32), "TIFF", RAW),
    "folder pgm": lambda: folder_kit("pgm", unseen=RAW),
}


@pytest.mark.parametrize("name", KITS)
def test_damaged_data_sets_end_in_a_reason_or_the_right_label(name: str, tmp_path: Path) -> None:
    tally = run(KITS[name](), range(40), tmp_path)
    assert tally.wrong == [] and tally.outcomes.total() == 40, tally


@pytest.mark.slow
@pytest.mark.parametrize("name", KITS)
def test_two_hundred_damages_of_each_reader(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally: Tally = run(KITS[name](), range(SEEDS), tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {dict(tally.outcomes)}, unseen {dict(tally.unseen)}")
    assert tally.wrong == [] and tally.outcomes.total() == SEEDS
