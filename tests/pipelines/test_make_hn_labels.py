"""The program, from files to verified shards, on a room whose geometry is known: a floor 1.2 m below, a wall at 3 m."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.shards import HNShards, read_rows
from fastseg.label_run import read_run
from fastseg.verify import problems
from pipelines.make_hn_labels import cli

HEIGHT, WIDTH, FOCAL, FLOOR, WALL = 120, 160, 100.0, 1.2, 3.0
FRAMES = 5


def depth_m() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Depth of a level camera, (HEIGHT, WIDTH) metres: the nearer of floor and wall along each pixel's ray."""
    below = np.maximum(np.arange(HEIGHT) - (HEIGHT - 1) / 2, 1e-9) / FOCAL
    return np.repeat(np.minimum(FLOOR / below, WALL)[:, None], WIDTH, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A `folder` data set of the room, its last depth image truncated."""
    folder = tmp_path / "room"
    for name in ("color", "depth"):
        (folder / name).mkdir(parents=True)
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": (WIDTH - 1) / 2, "cy": (HEIGHT - 1) / 2}
    camera |= {"width": WIDTH, "height": HEIGHT, "depth_scale": 0.0002}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    for i in range(FRAMES):
        colour = np.random.default_rng(i).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(colour).save(folder / "color" / f"{i}.png")
        noisy = depth_m() * (1 + 0.001 * np.random.default_rng(i).standard_normal((HEIGHT, WIDTH)))
        Image.fromarray(np.rint(noisy / 0.0002).astype(np.uint16)).save(folder / "depth" / f"{i}.png")
    last = folder / "depth" / f"{FRAMES - 1}.png"
    last.write_bytes(last.read_bytes()[:-40])
    return folder


def command(root: Path, out: Path, *more: str) -> int:
    return cli(["--reader", "folder", "--root", str(root), "--out", str(out), "--workers", "0", *more])


def test_a_room_becomes_labels_that_fit_its_geometry(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(root, out) == 0
    assert problems(out) == []
    data = HNShards(out)
    assert len(data) == FRAMES - 1
    image, label = data[0]
    with Image.open(io.BytesIO((root / "color" / "0.png").read_bytes())) as colour:
        np.testing.assert_array_equal(image, np.asarray(colour))
    stats = data.stats(0)
    assert stats["floor_m"] == pytest.approx(-FLOOR, abs=0.02)
    assert np.dot(stats["up"], [0, -1, 0]) > np.cos(np.radians(0.5))
    on_floor = depth_m() < WALL - 0.2
    labelled = label != 255
    assert (label[on_floor & labelled] == 0).mean() > 0.98  # parallel to the floor, lowest
    assert (label[:40][labelled[:40]] // 10 == 1).mean() > 0.98  # perpendicular to it
    assert data.class_names[0] == "parallel to floor x below 0.25 m"


def test_a_truncated_depth_image_is_rejected_and_counted(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(root, out, "--tuning.max_reject", "0.1") == 3
    run = json.loads((out / "run.json").read_text())
    assert run["counts"] == {"frames": FRAMES, "labels": FRAMES - 1, "rejected": {"decode": 1}}
    assert run["config"]["reader"] == "folder" and run["config"]["root"] == str(root)


@pytest.mark.parametrize("name", ["depth/1.png", "color/1.png"])
def test_a_pipe_in_place_of_a_picture_costs_its_own_frame_and_never_stops_the_run(
    root: Path, tmp_path: Path, name: str
) -> None:
    (root / name).unlink()
    os.mkfifo(root / name)
    out = tmp_path / "out"
    assert command(root, out, "--limit", "3", "--tuning.timeout_s", "10") == 0
    assert {row["id"]: row["reason"] for row in read_run(out).rejected} == {"1": "timeout"}
    assert command(root, tmp_path / "hashed", "--limit", "1", "--tuning.hash_inputs", "true") == 0


def test_the_same_command_does_nothing_and_another_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(root, out, "--tuning.height_edges", "quantile", "--limit", "3") == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert command(root, out, "--tuning.height_edges", "quantile", "--limit", "3") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert command(root, out, "--tuning.height_edges", "quantile", "--limit", "3", "--hn.n_height", "5") == 2
    assert "hn." in capsys.readouterr().err
    (root / "depth" / "1.png").write_bytes(b"shorter")
    assert command(root, out, "--tuning.height_edges", "quantile", "--limit", "3") == 2
    assert "input files of 1 frames changed, '1' the first" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_empty_folder_and_a_wrong_sample_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere" in capsys.readouterr().err
    assert command(root, tmp_path / "out", "--tuning.every", "0") == 2
    assert "--tuning.every must be at least 1; got 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hn.radius", "0"], "radius"),
        (["--hn.stride", "0"], "stride"),
        (["--hn.percentile", "101"], "percentile"),
        (["--hn.min_valid", "2"], "min_valid"),
        (["--hn.n_height", "3", "--hn.height_edges", "[1, 0.5]"], "height_edges"),
        (["--workers", "-1"], "workers"),
        (["--tuning.max_reject", "1.5"], "max_reject"),
        (["--tuning.timeout_s", "0"], "timeout_s"),
        (["--tuning.timeout_s", "1e10"], "timeout_s above 0 and at most 1e+06"),
        (["--tuning.frame_mb", "0"], "frame_mb and worker_mb must be at least 1; got 0 and 600"),
        (["--tuning.worker_mb", "-3"], "frame_mb and worker_mb must be at least 1; got 2048 and -3"),
        (["--tuning.shard_size", "0"], "--tuning.shard_size must be at least 1; got 0"),
        (["--tuning.seed", "-1", "--sample", "1"], "--tuning.seed must be at least 0; got -1"),
        (["--address", "auto"], "--address auto needs workers; 0 of them run inline"),
    ],
)
def test_a_setting_that_suits_no_frame_is_refused_before_the_run_begins(
    root: Path, tmp_path: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, tmp_path / "out", *words) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_any_label_can_still_be_looked_at(tmp_path: Path, root: Path) -> None:
    (root / "intrinsics.json").write_text((root / "intrinsics.json").read_text().replace("0.0002", "1.0"))
    assert command(root, tmp_path / "out") == 3
    run = read_run(tmp_path / "out")
    assert run.bins.tolist() == [0] * 20 and run.up.shape == (0, 3)
    assert {row["reason"] for row in run.rejected} == {"scale", "decode"}


def test_a_gpu_that_is_not_there_is_said_before_anything_is_written(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_cupy(host: object) -> object:
        raise ModuleNotFoundError("No module named 'cupy'")

    monkeypatch.setattr("fastseg.ops.arrays.on_gpu", no_cupy)
    assert command(root, tmp_path / "out", "--device", "cuda") == 2
    assert capsys.readouterr().err.endswith("--device cuda needs cupy (No module named 'cupy'): install fastseg[gpu]\n")
    assert not (tmp_path / "out").exists()


def test_batches_through_the_program_make_the_very_bytes_that_single_frames_make(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastseg.ops.arrays.on_gpu", lambda host: host)  # a device whose arrays are numpy's
    assert command(root, tmp_path / "one") == 0
    assert command(root, tmp_path / "many", "--device", "cuda", "--tuning.batch", "3") == 0
    one, many = (list(read_rows(tmp_path / out / "labels" / "shard-00000.parquet")) for out in ("one", "many"))
    assert one == many and len(one) == FRAMES - 1
    assert read_run(tmp_path / "many").rejected == read_run(tmp_path / "one").rejected


def test_a_sample_takes_the_same_share_of_every_scene(root: Path, tmp_path: Path) -> None:
    for scene in ("a", "b"):
        for kind in ("color", "depth"):
            (root / kind / scene).mkdir()
            for i in range(FRAMES - 1):
                (root / kind / scene / f"{i}.png").write_bytes((root / kind / f"{i}.png").read_bytes())
    assert command(root, tmp_path / "out", "--sample", "6", "--tuning.seed", "3") == 0
    ids = HNShards(tmp_path / "out").ids() + [row["id"] for row in read_run(tmp_path / "out").rejected]
    assert sorted(frame_id.rpartition("/")[0] for frame_id in ids) == ["", "", "a", "a", "b", "b"]


def test_depth_beyond_the_range_is_left_out_of_the_label_and_of_the_fingerprint_of_other_runs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, tmp_path / "out", "--tuning.max_depth_m", "2.5") in (0, 3)
    assert command(root, tmp_path / "out") == 2
    assert "tuning.max_depth_m was 2.5 and is now None" in capsys.readouterr().err
    near, full = tmp_path / "near", tmp_path / "full"
    command(root, near, "--tuning.max_depth_m", "2.99")
    command(root, full)
    assert HNShards(near).stats(0)["valid_fraction"] < 0.9 * HNShards(full).stats(0)["valid_fraction"]


def test_a_reader_that_does_not_exist_is_answered_with_those_that_do(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["--reader", "7scnes", "--root", str(root), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "did you mean 7scenes?" in said and "folder (color/NAME.jpg" in said
