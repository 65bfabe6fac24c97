from __future__ import annotations

import io
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image

from fastseg.data.shards import REJECTED_SCHEMA, SCHEMA, write_table
from fastseg.frame_card import tilt_deg
from fastseg.label_run import read_run, reopened
from fastseg.view import View, chosen, main

HEIGHT, WIDTH, FOCAL, UNDER = 48, 64, 60.0, 0.8  # the camera stands 0.8 m above the floor, a wall 3 m ahead
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
EDGES = [0.25 * k for k in range(1, 10)]


def hall() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Depth in metres and the exact HN label of a level camera's floor and wall."""
    down = (np.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2) / FOCAL + np.zeros((1, WIDTH))
    depth = np.where(down * 3.0 > UNDER, UNDER / np.maximum(down, 1e-9), 3.0)
    bins = np.clip((UNDER - down * depth) / 0.25, 0, 9).astype(np.uint8)
    return depth, np.where(depth < 3.0, bins, bins + 10).astype(np.uint8)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    shade = np.linspace(40, 220, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    Image.fromarray(np.repeat(shade, 3, axis=2).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def label_row(frame_id: str, image: bytes | None) -> dict[str, object]:
    label = hall()[1]
    figures = {"floor_m": -UNDER, "aligned_fraction": 1.0, "valid_fraction": 1.0, "disagreement_deg": 0.2}
    size = {"height": HEIGHT, "width": WIDTH, "up": [0.0, -1.0, 0.0]}
    bins = np.bincount(label.ravel(), minlength=20).tolist()
    return {"id": frame_id, "image": image, "label": label.tobytes(), "bins": bins, **size, **figures}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A label run of three frames (a, b and a hostile name without files) and two rejections, and its source."""
    root, out = tmp_path / "source", tmp_path / "labels"
    for place in (root / "depth", root / "color", root / "poses", out / "labels", out / "rejected"):
        place.mkdir(parents=True)
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": (WIDTH - 1) / 2, "cy": (HEIGHT - 1) / 2, "width": WIDTH, "height": HEIGHT}
    (root / "intrinsics.json").write_text(json.dumps({**camera, "depth_scale": 0.001}))
    for k, name in enumerate("ab"):
        Image.fromarray(np.round(1000 * hall()[0]).astype(np.uint16)).save(root / "depth" / f"{name}.png")
        (root / "color" / f"{name}.jpg").write_bytes(jpeg())
        np.savetxt(root / "poses" / f"{name}.txt", np.eye(4) + np.eye(4, k=3) * 10 * k)
    about = {"fingerprint": "0123456789abcdef", "hn": {"n_height": 10, "n_normal": 2, "height_edges": EDGES}}
    rows = [label_row(HOSTILE, jpeg()), label_row("a", jpeg()), label_row("b", None)]
    write_table(out / "labels" / "0.parquet", pa.Table.from_pylist(rows, schema=SCHEMA), about)
    gone = {"id": f"{HOSTILE}2", "reason": "decode", "detail": f"{HOSTILE} is truncated", "value": float("nan")}
    wall = {"id": "wall", "reason": "no-floor", "detail": "no floor in view", "value": 0.1}
    write_table(out / "rejected" / "0.parquet", pa.Table.from_pylist([gone, wall], schema=REJECTED_SCHEMA), about)
    (out / "run.json").write_text(json.dumps({"config": {"reader": "folder", "root": str(root)}, "note": HOSTILE}))
    return out


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.captions: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(name)
        self.captions += [str(value) for key, value in attributes if key == "alt"]
        assert not any(key.startswith("on") for key, _ in attributes)


def test_the_page_shows_every_picture_of_a_frame(out: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(View(str(out), html=str(page), frame="a")) == 0
    shown = Elements(page.read_text("utf-8"))
    kinds = ["colour, up and horizon", "depth, 2.", "normals", "HN label", "label over colour"]
    assert len(shown.captions) == 5
    assert all(caption.startswith(kind) for caption, kind in zip(shown.captions, kinds, strict=True))


def test_hostile_names_stay_text(out: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    main(View(str(out), html=str(page)))
    text = page.read_text("utf-8")
    assert "script" not in Elements(text).names
    assert text.count("&lt;script&gt;document.title=") >= 4
    assert "no-floor" in text and "no floor in view" in text


def test_headless_chromium_runs_no_script_of_a_hostile_name(out: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed")
    page = tmp_path / "report.html"
    main(View(str(out), html=str(page)))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    quiet = ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *flags, *quiet, "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>HN labels: labels</title>" in dom
    assert "&lt;script&gt;" in dom and "<script" not in dom and "<img src=x" not in dom


def test_a_lost_source_is_said_and_the_rest_is_shown(out: Path, tmp_path: Path) -> None:
    page, lost = tmp_path / "report.html", tmp_path / "nowhere"
    main(View(str(out), html=str(page), root=str(lost)))
    text = page.read_text("utf-8")
    assert f"depth not available: {lost} not found" in text
    assert "normals" not in Elements(text).captions and "HN label" in Elements(text).captions


def test_a_run_without_its_configuration_asks_for_reader_and_root(out: Path) -> None:
    (out / "run.json").unlink()
    run = read_run(out)
    assert reopened(run)[0] is None and "give --reader and --root" in reopened(run)[1]
    assert reopened(run, "folder", str(out.parent / "source"))[0] is not None


def test_a_painted_cloud_lies_on_the_floor_and_the_wall(out: Path, tmp_path: Path) -> None:
    cloud = tmp_path / "cloud.ply"
    main(View(str(out), ply=str(cloud), frame=["a", "b"]))
    head, body = cloud.read_bytes().split(b"end_header\n", 1)
    points = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    assert f"element vertex {2 * HEIGHT * WIDTH}".encode() in head
    first = points["xyz"][: HEIGHT * WIDTH]
    assert np.abs(np.minimum(np.abs(first[:, 1] - UNDER), np.abs(first[:, 2] - 3.0))).max() < 2e-3  # millimetre depth
    assert np.allclose(points["xyz"][HEIGHT * WIDTH :], first + np.array([10, 0, 0]), atol=1e-5)
    assert len(np.unique(points["rgb"], axis=0)) == len(np.unique(hall()[1]))


def test_what_cannot_be_shown_is_refused_in_one_sentence(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to write"):
        main(View(str(out)))
    with pytest.raises(ValueError, match="it was rejected: no floor in view"):
        chosen(read_run(out), ["wall"], 1)
    with pytest.raises(ValueError, match="the run has no such id"):
        chosen(read_run(out), ["c"], 1)
    with pytest.raises(ValueError, match="give --frame ID"):
        main(View(str(out), ply=str(tmp_path / "cloud.ply")))
    with pytest.raises(ValueError, match=r"needs depth; depth not available: .* not found"):
        main(View(str(out), ply=str(tmp_path / "cloud.ply"), frame="a", root=str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match="not a folder"):
        main(View(str(tmp_path / "nothing"), html=str(tmp_path / "report.html")))
    (out / "run.json").write_text("[1")
    with pytest.raises(ValueError, match="must be JSON"):
        read_run(out)


def test_several_frames_without_poses_make_no_cloud(out: Path, tmp_path: Path) -> None:
    (out.parent / "source" / "poses" / "b.txt").unlink()
    with pytest.raises(ValueError, match="'b' has no pose"):
        main(View(str(out), ply=str(tmp_path / "cloud.ply"), frame=["a", "b"]))


def test_chosen_frames_are_spread_over_the_run(out: Path) -> None:
    run = read_run(out)
    assert chosen(run, [], 2) == [0, 2] and chosen(run, [], 99) == [0, 1, 2] and chosen(run, [], 0) == []


def test_tilt_of_a_camera_that_looks_down() -> None:
    assert tilt_deg(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])).tolist() == [0.0, 90.0]
