from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kinect_recording import NAME, dump, pgm, ppm, record, seen
from PIL import Image

from fastseg.data.nyuv2_raw import NyuRaw
from fastseg.data.rooms import RoomFrame
from fastseg.data.sources import open_source
from fastseg.frames import FrameError
from fastseg.labels.hn import HNConfig, label_frame

ID = f"bedroom_0001/d-{NAME}"
STEP = 0.55 / 351.3  # half a step of disparity in 1/m, and a little for float32
WINDOW = np.s_[45:470, 41:601]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    record(tmp_path / "bedroom_0001")
    return tmp_path / "bedroom_0001"


def around(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest depth that half a disparity step allows of the surfaces within a pixel, in the window."""
    shifted = [depth[45 + i : 470 + i, 41 + j : 601 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    low, high = np.minimum.reduce(shifted), np.maximum.reduce(shifted)
    return low / (1 + low * STEP), high / (1 - high * STEP)


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.mark.parametrize("room_seed", [7, 9, 11])
def test_registered_depth_lies_on_the_rooms_surfaces(tmp_path: Path, room_seed: int) -> None:
    exact = record(tmp_path / "bedroom_0001", room_seed=room_seed)
    frame = open_source("nyuv2-raw", tmp_path).load(ID)
    assert frame.depth.shape == (425, 560) and frame.depth.dtype == np.float32 and frame.depth_scale == 1
    assert frame.camera == exact.camera.cropped(45, 41, 425, 560)
    low, high = around(exact.depth)
    valid = frame.depth > 0
    assert valid.mean() > 0.97
    assert ((frame.depth >= low) & (frame.depth <= high))[valid].mean() > 0.9995
    # most of the error is the rounding itself: uniform within half a step, so a quarter of one in the middle
    error = np.abs(1 / frame.depth[valid] - 1 / exact.depth[WINDOW][valid])
    assert np.median(error) == pytest.approx(0.25 / 351.3, rel=0.2)


def test_the_colour_is_what_a_perfect_lens_would_see(scene: Path) -> None:
    exact = seen()[2]
    image = np.asarray(Image.open(io.BytesIO(NyuRaw(scene.parent, encoding="png").load(ID).image or b"")))
    apart = np.abs(image.astype(int) - exact.color[WINDOW])
    assert image.shape == (425, 560, 3) and apart.mean() < 1.5 and np.median(apart) <= 1
    raw = seen()[1][WINDOW]
    assert np.abs(raw.astype(int) - exact.color[WINDOW]).mean() > 3 * apart.mean()  # the lens matters


def test_the_image_is_a_jpeg_close_to_the_lossless_one(scene: Path) -> None:
    jpeg, png = (NyuRaw(scene.parent, encoding=kind).load(ID).image or b"" for kind in ("jpeg", "png"))
    assert jpeg[:3] == b"\xff\xd8\xff" and png[:4] == b"\x89PNG" and len(jpeg) < len(png) / 3
    decoded = [np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (jpeg, png)]
    assert np.abs(decoded[0] - decoded[1]).mean() < 2.5


def test_up_is_the_accelerometers_and_the_label_follows(scene: Path) -> None:
    exact: RoomFrame = seen()[2]
    frame = NyuRaw(scene.parent).load(ID)
    assert frame.up_prior is not None and degrees(frame.up_prior, exact.up) < 0.1
    made = label_frame(frame, HNConfig())
    assert degrees(made.up, exact.up) < 0.5 and made.floor_m == pytest.approx(exact.floor_m, abs=0.05)
    height = (exact.up @ points(frame.depth, frame.camera)) - exact.floor_m
    seen_bin, true_bin = made.label % 10, np.clip(np.floor(height.reshape(425, 560) / 0.25), 0, 9)
    known = made.label != 255
    assert known.mean() > 0.8 and (np.abs(seen_bin - true_bin)[known] <= 1).mean() > 0.995


def points(depth: np.ndarray, camera: object) -> np.ndarray:
    v, u = np.mgrid[:425, :560]
    k = camera
    x, y = (u - k.cx) / k.fx, (v - k.cy) / k.fy  # type: ignore[attr-defined]
    return np.stack([x * depth, y * depth, depth]).reshape(3, -1)


def test_a_steep_view_is_labelled_through_the_accelerometer(tmp_path: Path) -> None:
    """Signs matter: mirrored in z, the prior of a camera that looks down would be off by twice its pitch."""
    exact = record(tmp_path / "a")
    assert abs(exact.up[2]) > 0.1
    path = tmp_path / "a" / f"a-{NAME}.dump"
    good = NyuRaw(tmp_path).load(f"a/d-{NAME}").up_prior
    path.write_bytes(dump(exact.up * (1, 1, -1)))
    mirrored = NyuRaw(tmp_path).load(f"a/d-{NAME}").up_prior
    assert good is not None and mirrored is not None
    assert degrees(mirrored, exact.up) == pytest.approx(2 * np.degrees(np.arcsin(abs(exact.up[2]))), abs=0.2)


def test_the_whole_image_is_an_option(scene: Path) -> None:
    whole, window = NyuRaw(scene.parent, crop=False).load(ID), NyuRaw(scene.parent).load(ID)
    assert whole.depth.shape == (480, 640) and whole.camera == seen()[2].camera
    np.testing.assert_array_equal(whole.depth[WINDOW], window.depth)


def test_holes_stay_holes(scene: Path) -> None:
    raw = seen()[0].copy()
    raw[200:260, 300:380] = 2047
    (scene / f"d-{NAME}.pgm").write_bytes(pgm(raw))
    depth = NyuRaw(scene.parent, crop=False).load(ID).depth  # the hole lies 20 rows lower and 15 columns right there
    assert (depth[225:265, 320:370] == 0).all() and (depth[100:200, 320:370] > 0).mean() > 0.95


def test_a_files_end_lost_to_zeros_is_no_measurement(scene: Path) -> None:
    data = (scene / f"d-{NAME}.pgm").read_bytes()
    (scene / f"d-{NAME}.pgm").write_bytes(data[:200_000] + bytes(len(data) - 200_000))
    frame = NyuRaw(scene.parent).load(ID)
    assert not frame.depth[200:].any() and (frame.depth[:100] > 0).mean() > 0.9
    (scene / f"d-{NAME}.pgm").write_bytes(data[:17] + bytes(len(data) - 17))
    with pytest.raises(FrameError) as caught:
        label_frame(NyuRaw(scene.parent).load(ID), HNConfig())
    assert caught.value.reason == "no-depth"


def test_an_archive_gives_the_same_frame(scene: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bedrooms_part1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in scene.iterdir():
            archive.write(path, f"bedroom_0001/{path.name}")
    folder, packed = NyuRaw(tmp_path / "."), NyuRaw(tmp_path / "bedrooms_part1.zip")
    a, b = folder.load(ID), packed.load(ID)
    assert a.image == b.image and a.depth.tobytes() == b.depth.tobytes() and a.camera == b.camera
    np.testing.assert_array_equal(np.asarray(a.up_prior), np.asarray(b.up_prior))
    assert [Path(path).name for path in folder.inputs(ID)] == [f"d-{NAME}.pgm", f"r-{NAME}.ppm", f"a-{NAME}.dump"]
    assert packed.inputs(ID) == [str(tmp_path / "bedrooms_part1.zip")]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_scenes_beyond_the_memory_of_names_are_found_again(tmp_path: Path, kind: str) -> None:
    raw, color, _ = seen()
    files = {
        f"s{k}/{name}": data
        for k in range(7)
        for name, data in (("d-1.0-1.pgm", pgm(raw)), ("r-1.0-2.ppm", ppm(color)))
    }
    for number, (name, data) in enumerate(files.items()):
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / f"part{number // 4}.zip", "a") as archive:
                archive.writestr(name, data)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    source = NyuRaw(tmp_path)
    ids = source.ids()
    assert len(ids) == 7
    assert len({source.load(frame_id).depth.tobytes() for frame_id in ids + ids[::-1]}) == 1


def test_a_depth_image_far_from_any_colour_is_rejected_with_the_gap(scene: Path) -> None:
    (scene / f"r-{NAME}.ppm").rename(scene / "r-1294886362.765769-1.ppm")
    with pytest.raises(FrameError, match=r"expected colour within 0\.05 s; the nearest is 0\.1000 s away") as caught:
        NyuRaw(scene.parent).load(ID)
    assert caught.value.reason == "missing" and caught.value.value == pytest.approx(0.1)
    assert NyuRaw(scene.parent, max_difference_s=0.11).load(ID).image
    assert len(NyuRaw(scene.parent).inputs(ID)) == 2


def test_without_a_near_accelerometer_record_there_is_no_prior(scene: Path) -> None:
    (scene / f"a-{NAME}.dump").rename(scene / "a-1294886363.665769-1.dump")
    assert NyuRaw(scene.parent).load(ID).up_prior is None


@pytest.mark.parametrize(
    ("file", "data", "expected"),
    [
        ("d-", pgm(np.full((480, 640), 700))[:-2], "decode"),
        ("r-", b"P6 640 480 255\n", "decode"),
        ("a-", bytes(12), "gravity"),
        ("a-", b"\x00\x33", "decode"),
        ("d-", bytes(2**22 + 1), "too-large"),
        ("r-", b"P6 99999 99999 255\n" + bytes(99), "too-large"),
        ("d-", None, "missing"),
        ("r-", None, "missing"),
    ],
)
def test_a_damaged_file_has_a_reason_that_names_it(scene: Path, file: str, data: bytes | None, expected: str) -> None:
    path = next(path for path in scene.iterdir() if path.name.startswith(file))
    source = NyuRaw(scene.parent)
    source.inputs(ID)  # the scene's names are known before the file changes
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(FrameError) as caught:
        source.load(ID)
    assert caught.value.reason == expected and path.name in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_difference_s must be 0 or more"):
        NyuRaw(tmp_path, max_difference_s=float("nan"))
    with pytest.raises(ValueError, match="encoding must be jpeg or png; got 'gif'"):
        NyuRaw(tmp_path, encoding="gif")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reader nyuv2-raw takes no depth_scale"):
        open_source("nyuv2-raw", tmp_path, depth_scale=1.0)


def test_a_sample_of_an_archive_becomes_verified_shards(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from fastseg.verify import problems
    from pipelines.make_hn_labels import cli

    raw, color, exact = seen()
    with zipfile.ZipFile(tmp_path / "dens.zip", "w") as archive:
        for name in ("den_0001/{}-1.0-1", "den_0001/{}-2.0-1", "den_0001/{}-3.0-1", "den_0002/{}-1.0-1"):
            archive.writestr(name.format("d") + ".pgm", pgm(raw))
            archive.writestr(name.format("r") + ".ppm", ppm(color))
            archive.writestr(name.format("a") + ".dump", dump(exact.up))
    given = {"reader": "nyuv2-raw", "root": tmp_path / "dens.zip", "out": tmp_path / "out", "workers": 0, "sample": 3}
    assert cli([f"--{key}={value}" for key, value in given.items()]) == 0
    assert problems(tmp_path / "out") == []
    labels = [row for path in (tmp_path / "out" / "labels").iterdir() for row in pq.read_table(path).to_pylist()]
    scenes = sorted(row["id"].partition("/")[0] for row in labels)
    assert scenes == ["den_0001", "den_0001", "den_0002"]
    assert {(row["height"], row["width"]) for row in labels} == {(425, 560)}
