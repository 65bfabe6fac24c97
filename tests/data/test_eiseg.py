"""Published PSSL masks: read as they are, refused with a reason when they are anything else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastseg.data.eiseg import read_eiseg
from fastseg.frames import FrameError


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_published_mask_comes_back(dtype: Any, save: Any, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (7, 9))
    save(tmp_path / "a_eiseg.npz", mask.astype(dtype))
    found = read_eiseg(tmp_path / "a_eiseg.npz")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, mask)


def archive(path: Path, body: bytes, entry: str = "arr_0.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(entry, body)
    return path


def header(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (header("(4, 4)") + bytes([2] * 16), "type"),
        (header("(4, 4)", "|i1") + bytes([255] * 16), "type"),
        (header("(4, 4)", "<f4") + bytes(64), "type"),
        (header("(16,)") + bytes(16), "type"),
        (header("(4, 4)") + bytes(15), "decode"),
        (header("(4, 4)") + bytes(17), "decode"),
        (header("(99999, 99999)") + bytes(2**20), "too-large"),
        (header("(4, 4)", "|O") + b"cos\nsystem\n(S'true'\ntR.", "type"),
        (b"no array", "decode"),
    ],
)
def test_another_array_has_its_reason(body: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(FrameError) as caught:
        read_eiseg(archive(tmp_path / "a_eiseg.npz", body))
    assert caught.value.reason == reason and "a_eiseg.npz" in caught.value.detail


def test_a_file_that_is_no_archive_or_not_there_has_its_reason(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.npz", header("(4, 4)") + bytes(16)).read_bytes()
    cases = {"half.npz": whole[:60], "text.npz": b"hello", "empty.npz": b""}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    archive(tmp_path / "other.npz", b"", "arr_1.npy")
    for name, reason in [*dict.fromkeys((*cases, "other.npz"), "decode").items(), ("gone.npz", "missing")]:
        with pytest.raises(FrameError) as caught:
            read_eiseg(tmp_path / name)
        assert caught.value.reason == reason, name
