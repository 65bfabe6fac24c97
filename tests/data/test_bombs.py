"""L8: what would cost too much memory is refused before it is allocated; and what a whole large frame costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bombs
import h5py
import numpy as np
import pytest
from fuzz import scene_m
from PIL import Image

from fastseg.data.images import MAX_FILE_BYTES
from fastseg.data.nyuv2 import FILE, NyuFrames
from fastseg.data.png import MAX_PIXELS
from fastseg.frames import Camera

ROOT = Path(__file__).parents[2]
MOST_MB = 200
FRAME_MB = 256
LABEL = """
import sys
sys.path.insert(0, sys.argv[2])
from bombs import peak_mb
from fastseg.data.folder import Folder
from fastseg.labels.hn import HNConfig, label_frame
def row(root):
    frame = Folder(root).load("a")
    return frame.image, label_frame(frame, HNConfig(stride=1)).label.tobytes()
row(sys.argv[1] + "/small")
before = peak_mb()
row(sys.argv[1] + "/large")
print(peak_mb() - before)
"""


def printed(*command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bombs_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    bombs.write(tmp_path)
    *lines, last = printed(bombs.__file__, str(tmp_path)).splitlines()
    assert dict(line.split(" ", 1) for line in lines) == bombs.EXPECTED
    assert int(last.split()[1]) <= MOST_MB, last


def write_frame(root: Path, height: int, width: int, ending: str, kind: str) -> None:
    camera = Camera(width * 0.6, width * 0.6, (width - 1) / 2, (height - 1) / 2, height, width)
    names = ("fx", "fy", "cx", "cy", "height", "width")
    for folder in ("depth", "color"):
        (root / folder).mkdir(parents=True)
    about = {name: getattr(camera, name) for name in names} | {"depth_scale": 0.001 if ending == "png" else 1.0}
    (root / "intrinsics.json").write_text(json.dumps(about))
    depth = scene_m(camera)
    if ending == "png":
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(root / "depth" / "a.png", compress_level=1)
    else:
        np.save(root / "depth" / "a.npy", depth.astype(np.float32))
    color = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(color).save(root / "color" / f"a.{kind}", compress_level=0)  # as large as a file of colour gets


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "color"), [("png", "png"), ("npy", "png"), ("npy", "ppm"), ("npy", "tiff")])
def test_the_largest_frame_costs_a_worker_at_most_256_mb(ending: str, color: str, tmp_path: Path) -> None:
    assert 3840 * 2160 <= MAX_PIXELS < 3900 * 2160 and 4 * MAX_PIXELS < MAX_FILE_BYTES
    write_frame(tmp_path / "small", 120, 160, ending, color)
    write_frame(tmp_path / "large", 2160, 3840, ending, color)
    cost = int(printed("-c", LABEL, str(tmp_path), str(Path(__file__).parent)))
    print(f"depth {ending}, color {color}: {cost} MB")
    assert 8 < cost <= FRAME_MB


def test_a_matlab_file_whose_data_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x:0:0" * 10**6)
    shapes = {"images": ((1, 3, 640, 480), "u1"), "depths": ((1, 640, 480), "f4"), "labels": ((1, 640, 480), "u2")}
    for how in ("external link", "soft link", "external data", "virtual"):
        with h5py.File(tmp_path / FILE, "w") as file:
            for name, (shape, kind) in shapes.items():
                file.create_dataset(name, shape, kind)
            del file["images"]
            if how == "external link":
                file["images"] = h5py.ExternalLink(str(secret), "/images")
            elif how == "soft link":
                file["images"] = h5py.SoftLink("/labels")
            elif how == "external data":
                file.create_dataset("images", *shapes["images"], external=[(str(secret), 0, 3 * 640 * 480)])
            else:
                layout = h5py.VirtualLayout((1, 3, 640, 480), "u1")
                layout[0] = h5py.VirtualSource(str(secret), "x", (3, 640, 480))
                file.create_virtual_dataset("images", layout)
        with pytest.raises(ValueError, match=r"images.* in this file"):
            NyuFrames(tmp_path)


def test_what_is_read_runs_no_code(tmp_path: Path) -> None:
    """S2: an array file that pickles a call, a YAML that constructs an object: refused, and the call not made."""
    from fastseg.data.images import decode_depth
    from fastseg.evaluate import Evaluate  # any program's configuration
    from fastseg.frames import FrameError

    mark = tmp_path / "mark"

    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(mark),)

    np.save(tmp_path / "a.npy", np.array([[Call()]], object))
    with pytest.raises(FrameError) as caught:
        decode_depth(tmp_path / "a.npy")
    assert caught.value.reason == "type" and not mark.exists()
    config = tmp_path / "config.yaml"
    config.write_text(f"root: !!python/object/apply:os.mkdir ['{mark}']\n")
    from fastseg.cli import run

    assert run(Evaluate, lambda _: 0, ["--config", str(config)]) == 2
    assert not mark.exists()
