"""Classified pictures in folders, tars and Parquet: classes by every rule, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastseg.data.class_pictures import Picture, TarPictures, decoded, open_pictures
from fastseg.frames import FrameError


def jpeg(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes], **links: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = tarfile.SYMTYPE, target
            file.addfile(info)
    return path


def test_a_pictures_class_in_a_tar_is_its_number_its_folder_or_the_tars_name(tmp_path: Path) -> None:
    tar(tmp_path / "n01.tar", {"n01_1.JPEG": jpeg(1)})
    tar(
        tmp_path / "part/a.tar",
        {"./x/1.jpg": jpeg(2), "2.jpg": jpeg(3), "2.cls": b"7\n", ".hidden.jpg": jpeg(4)},
        l="/",
    )
    found = open_pictures("tar", tmp_path)
    assert found.ids() == ["n01/n01_1", "part/a/2", "part/a/x/1"] and found.class_names == ("n01", "x")
    loaded = {picture_id: TarPictures(tmp_path).load(picture_id) for picture_id in found.ids()}  # as a worker does
    assert [each.of for each in loaded.values()] == ["n01", 7, "x"]
    assert [each.data for each in loaded.values()] == [jpeg(1), jpeg(3), jpeg(2)]
    assert found.inputs("part/a/2") == [str(tmp_path / "part/a.tar")]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../out.jpg": b""}, "is no frame id"),
        ({"1.jpg": b"", "1.cls": b"seven"}, "1.cls must hold a class number"),
        ({"1.jpg": b"", "1.png": b""}, "two files have the id"),
        ({"1.txt": b""}, "FILE.tar with NAME.jpg inside"),
    ],
)
def test_a_tar_that_cannot_be_used_is_named(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=said):
        open_pictures("tar", tmp_path).ids()


def test_a_file_that_is_no_plain_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 400)
    with pytest.raises(ValueError, match=r"a\.tar: expected a whole, plain tar file"):
        open_pictures("tar", tmp_path).ids()


def test_folders_take_any_case_of_an_ending_and_refuse_twins(tmp_path: Path) -> None:
    for name in ("a/1.JPEG", "a/b/2.Jpg", "c/3.png", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg())
    found = open_pictures("imagefolder", tmp_path)
    assert found.ids() == ["a/1", "a/b/2", "c/3"] and found.class_names == ("a", "c")
    assert [open_pictures("imagefolder", tmp_path).load(i).of for i in found.ids()] == ["a", "a", "c"]
    with pytest.raises(FrameError, match="cannot be read") as caught:
        found.load("a/9")
    assert caught.value.reason == "missing"
    (tmp_path / "a/1.png").write_bytes(jpeg())
    with pytest.raises(FrameError, match="two files have the id 'a/1'"):
        open_pictures("imagefolder", tmp_path).ids()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"image": [None], "label": pa.array([1])}, "missing"),
        ({"image": [{"bytes": None, "path": "x"}], "label": pa.array([1])}, "missing"),
        ({"image": [jpeg()], "label": pa.array([None], pa.int64())}, "class"),
    ],
)
def test_a_row_without_picture_or_class_has_its_reason(columns: dict[str, Any], reason: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(FrameError) as caught:
        open_pictures("parquet", tmp_path).load("a/00000000")
    assert caught.value.reason == reason


def test_parquet_without_the_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="expected columns image and label; it has picture"):
        open_pictures("parquet", tmp_path)


def test_a_picture_is_stretched_as_a_whole() -> None:
    assert decoded(Picture(jpeg(), 0, "a"), 16).shape == (16, 16, 3)
