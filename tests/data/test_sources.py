from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from fastseg.data.layouts import LABELLED, LAYOUTS
from fastseg.data.sources import TAKES, Labelled, Reader, open_labelled, open_source
from fastseg.frames import FrameError


def put(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_each_reader_refuses_what_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reader nyuv2 takes no depth_scale; got 0\.001"):
        open_source("nyuv2", tmp_path, depth_scale=0.001)
    with pytest.raises(ValueError, match="reader 7scenes takes no intrinsics"):
        open_source("7scenes", tmp_path, intrinsics=tmp_path / "intrinsics.json")
    with pytest.raises(ValueError, match="reader folder takes no camera"):
        open_source("folder", tmp_path, camera="freiburg1")


def test_every_reader_says_what_it_takes() -> None:
    assert set(TAKES) == set(get_args(Reader))


@pytest.mark.parametrize("reader", get_args(Reader))
def test_every_reader_says_in_one_sentence_that_there_is_nothing(reader: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match="expected") as caught:
        open_source(reader, tmp_path).ids()  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_every_reader_and_set_says_where_its_files_lie() -> None:
    assert set(LAYOUTS) == set(get_args(Reader)) and set(LABELLED) == set(get_args(Labelled))


@pytest.mark.parametrize("name", get_args(Labelled))
def test_every_labelled_set_says_in_one_sentence_that_there_is_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match="expected") as caught:
        open_labelled(name, tmp_path, "all" if name in ("folder", "replica") else "train")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", sorted({*get_args(Labelled)} - {"folder", "rooms"}))
def test_every_labelled_set_names_its_splits(name: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        open_labelled(name, tmp_path, "trian")  # type: ignore[arg-type]
    said = str(caught.value)
    assert "must be" in said if not name.startswith("nyuv2") else "expected the labelled NYUv2 file" in said


def test_an_unknown_set_is_answered_with_the_nearest_and_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no labelled set 'cityscape' \(did you mean cityscapes\?\)") as caught:
        open_labelled("cityscape", tmp_path, "train")  # type: ignore[arg-type]
    assert all(f"{name} ({layout})" in str(caught.value) for name, layout in LABELLED.items())
    with pytest.raises(ValueError, match="no reader 'tom'"):
        open_source("tom", tmp_path)  # type: ignore[arg-type]


def test_the_depth_scale_is_overridden_explicitly(tmp_path: Path) -> None:
    put(tmp_path / "frame-000000.depth.png", np.full((480, 640), 900, np.uint16))
    put(tmp_path / "frame-000000.color.png", np.zeros((480, 640, 3), np.uint8))
    assert open_source("7scenes", tmp_path).load("frame-000000").depth_scale == 0.001
    with pytest.raises(FrameError, match="median depth is 900 m"):
        open_source("7scenes", tmp_path, depth_scale=1.0).load("frame-000000")
    with pytest.raises(ValueError, match="depth_scale must be a positive number"):
        open_source("7scenes", tmp_path, depth_scale=0.0)


def test_rooms_are_made_from_the_numbers_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "rooms.json").write_text(json.dumps({"seed": 1, "count": 3, "height": 24, "width": 32, "noise": False}))
    (tmp_path / "val.json").write_text(json.dumps({"seed": 2, "count": 5, "height": 24, "width": 32}))
    assert len(open_source("rooms", tmp_path).ids()) == 3
    assert len(open_labelled("rooms", tmp_path, "val")) == 5


@pytest.mark.parametrize(
    "values",
    [{}, {"seed": 1}, {"seed": 1, "count": 2, "size": 3}, {"seed": 1, "count": "2"}, {"seed": 1, "count": -1}, []],
)
def test_rooms_without_their_numbers_are_refused(tmp_path: Path, values: object) -> None:
    (tmp_path / "rooms.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"rooms\.json"):
        open_source("rooms", tmp_path)


def test_sources_load_no_heavy_library() -> None:
    code = "import sys, fastseg.data.sources; print([m for m in ('torch', 'h5py', 'pyarrow') if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    printed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
