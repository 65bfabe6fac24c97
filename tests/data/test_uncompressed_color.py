"""Colour that no one encoded is encoded once, without loss; what is encoded passes through untouched."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.folder import Folder
from fastseg.data.images import encoded_color
from fastseg.frames import FrameError

COLOR = np.random.default_rng(0).integers(0, 256, (33, 41, 3)).astype(np.uint8)


def written(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if kind == "NPY":
        np.save(buffer, array)
    else:
        Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "a.ppm": written(COLOR, "PPM"),
    "a.bmp": written(COLOR, "BMP"),
    "a.tiff": written(COLOR, "TIFF"),
    "deflated.tif": written(COLOR, "TIFF", compression="tiff_adobe_deflate"),
    "a.npy": written(COLOR, "NPY"),
}


@pytest.mark.parametrize("name", FILES)
def test_uncompressed_colour_becomes_a_png_of_the_same_pixels(name: str) -> None:
    data, size = encoded_color(FILES[name], name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG" and size == (33, 41)
        np.testing.assert_array_equal(np.asarray(image), COLOR)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(name: str, share: float) -> None:
    data = FILES[name][: int(share * len(FILES[name]))]
    with pytest.raises(FrameError, match=name) as error:
        encoded_color(data, name)
    assert error.value.reason == "decode"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("grey.npy", written(COLOR[:, :, 0], "NPY")),
        ("wide.npy", written(COLOR.astype(np.uint16), "NPY")),
        ("columns.npy", written(np.asfortranarray(COLOR), "NPY")),
        ("deep.tiff", written(COLOR[:, :, 0].astype(np.float32), "TIFF")),
    ],
)
def test_what_is_not_eight_bits_of_red_green_and_blue_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(FrameError, match=name) as error:
        encoded_color(data, name)
    assert error.value.reason == "type"


def test_a_size_that_lies_is_refused_before_it_costs_memory() -> None:
    with pytest.raises(FrameError) as error:
        encoded_color(b"P6 200000 200000 255\n" + bytes(100), "a.ppm")
    assert error.value.reason == "too-large"


@pytest.mark.parametrize("ending", ["ppm", "npy", "jpg"])
def test_a_frame_of_the_folder_layout_carries_it(tmp_path: Path, ending: str) -> None:
    camera = {"fx": 40, "fy": 40, "cx": 20, "cy": 16, "width": 41, "height": 33, "depth_scale": 0.001}
    (tmp_path / "intrinsics.json").write_text(json.dumps(camera))
    for folder in ("color", "depth"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((33, 41), 1500, np.uint16)).save(tmp_path / "depth" / "1.png")
    data = FILES[f"a.{ending}"] if ending != "jpg" else written(COLOR, "JPEG")
    (tmp_path / "color" / f"1.{ending}").write_bytes(data)
    source = Folder(tmp_path)
    image = source.load("1").image
    assert image == (data if ending == "jpg" else encoded_color(data, "x")[0])
    assert [Path(name).name for name in source.inputs("1")] == ["intrinsics.json", "1.png", f"1.{ending}"]
