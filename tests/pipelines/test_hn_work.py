"""The work of a label worker: one frame or a batch at a time gives the same rows, in little memory, without torch."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.shards import Row
from fastseg.frames import Camera, Frame, FrameError
from fastseg.labels.hn import HNConfig
from fastseg.ops import arrays
from pipelines import hn_work
from pipelines.hn_work import LabelBatch, LabelFrame, SourceAt
from pipelines.one_shard import Clock

CHECKOUT = Path(__file__).parents[2]
AT = SourceAt("folder", Path("somewhere"), None, None, None, None)
HN = HNConfig()
Outcome = Row | tuple[str, str]


def room(seed: int, height: int = 120, width: int = 160, metres: bool = False, wall: float = 3.0) -> Frame:
    """A level camera over a floor 1.2 m below it, before a wall; wall 0.5 hides the floor."""
    camera = Camera(0.625 * width, 0.625 * width, (width - 1) / 2, (height - 1) / 2, height, width)
    below = np.maximum(np.arange(height) - camera.cy, 1e-9) / camera.fy
    noise = 1 + 0.001 * np.random.default_rng(seed).standard_normal((height, width))
    depth = np.minimum(1.2 / below, wall)[:, None] * noise
    if metres:
        return Frame(f"m-{seed}", depth.astype(np.float32), 1.0, camera, b"colour")
    return Frame(f"n-{seed}", np.rint(depth / 0.0002).astype(np.uint16), 0.0002, camera, None)


class Source:
    """A FrameSource over frames in memory."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = {frame.id: frame for frame in frames}

    def ids(self) -> list[str]:
        return sorted(self.frames)

    def load(self, frame_id: str) -> Frame:
        return self.frames[frame_id]

    def inputs(self, frame_id: str) -> list[str]:
        return []


MIXED = [
    room(1), room(2), room(3, wall=0.5), room(4, 121, 163), room(5, metres=True), replace(room(6), depth_scale=0.0001),
    replace(room(7), depth=np.zeros((120, 160), np.uint16)), replace(room(8), up_prior=np.array([0.1, -1.0, 0.1])),
]  # fmt: skip


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Frames of two sizes, scales and element types, two of them without a label."""
    made = Source(MIXED)
    monkeypatch.setattr(hn_work, "opened", lambda at: made)
    return made


def one_by_one(source: Source) -> list[Outcome]:
    work = LabelFrame(AT, HN)
    found: list[Outcome] = []
    for frame_id in source.ids():
        try:
            found.append(work(frame_id, Clock()))
        except FrameError as error:
            found.append((error.reason, error.detail))
    return found


def together(source: Source, work: LabelBatch) -> list[Outcome]:
    read = [work.read(frame_id, Clock()) for frame_id in source.ids()]
    return [(o.reason, o.detail) if isinstance(o, FrameError) else o for o in work.label(read, Clock())]


def test_a_batch_gives_the_rows_and_the_rejections_that_single_frames_give(source: Source) -> None:
    alone = one_by_one(source)
    assert together(source, LabelBatch(AT, HN, np.asarray)) == alone
    assert [row[0] for row in alone if isinstance(row, tuple)] == ["gravity", "no-depth"]
    assert [row["image"] for row in alone if isinstance(row, dict)].count(b"colour") == 1


def test_frames_of_one_camera_scale_and_type_go_to_the_device_in_one_stack(source: Source) -> None:
    stacks: list[tuple[tuple[int, ...], str]] = []

    def put(depth: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> object:
        stacks.append((depth.shape, str(depth.dtype)))
        return depth

    together(source, LabelBatch(AT, HN, put))
    assert sorted(stacks) == [
        ((1, 120, 160), "float32"), ((1, 120, 160), "uint16"), ((1, 121, 163), "uint16"), ((5, 120, 160), "uint16")
    ]  # fmt: skip


def test_what_the_device_gives_back_is_fetched_before_it_is_judged(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    def fetched(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> object:
        asked.append(array.shape)
        return array

    monkeypatch.setattr(arrays, "fetched", fetched)
    together(source, LabelBatch(AT, HN, np.asarray))
    assert (5, 120, 160) in asked and (5, 3) in asked and (5, 4) in asked and (5,) in asked and (5, 20) in asked


@pytest.mark.gpu
def test_a_gpu_labels_as_the_processor_does(source: Source) -> None:
    """Contracted multiplications and additions move single pixels over the edge of a bin: fewer than one in 1,000."""
    try:
        arrays.backend(arrays.on_gpu(np.zeros(1)))
    except Exception as error:
        pytest.skip(f"no GPU: {error}")
    alone, there = one_by_one(source), together(source, LabelBatch(AT, HN, arrays.on_gpu))
    for ours, theirs in zip(alone, there, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            pixels = (np.frombuffer(row["label"], np.uint8) for row in (ours, theirs))
            assert np.not_equal(*pixels).mean() < 1e-3
            assert np.allclose(ours["up"], theirs["up"], atol=1e-3) and abs(ours["floor_m"] - theirs["floor_m"]) < 1e-3
        elif isinstance(ours, tuple) and isinstance(theirs, tuple):
            assert ours[0] == theirs[0]


MEASURE = """
import json, sys
from pathlib import Path
from pipelines.hn_work import LabelFrame, SourceAt
from pipelines.one_shard import ShardJob, label_shard
from fastseg.labels.hn import HNConfig
from fastseg.ops import arrays
root, out = Path(sys.argv[1]), Path(sys.argv[2])
for folder in ("labels", "rejected"):
    (out / folder).mkdir(parents=True)
work = LabelFrame(SourceAt("folder", root, None, None, None, None), HNConfig())
ids = tuple(sorted(path.stem for path in (root / "depth").iterdir()))
done = label_shard(ShardJob(0, ids, str(out), {"fingerprint": "f"}, 60.0), work)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) / 1024  # the kernel's ru_maxrss would be that of the parent, if it was larger
print(json.dumps({"mb": peak, "torch": "torch" in sys.modules, "labels": done.labels}))
"""


def test_a_worker_stays_under_600_mb_and_never_imports_torch(tmp_path: Path) -> None:
    root = tmp_path / "room"
    for name in ("color", "depth"):
        (root / name).mkdir(parents=True)
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(picture, "JPEG")
    for i in range(64):
        frame = room(i % 4, 480, 640)
        (root / "color" / f"{i:02}.jpg").write_bytes(picture.getvalue())
        Image.fromarray(frame.depth).save(root / "depth" / f"{i:02}.png", compress_level=1)
    camera = {name: getattr(frame.camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")}
    (root / "intrinsics.json").write_text(json.dumps(camera | {"depth_scale": 0.0002}))
    words = [sys.executable, "-c", MEASURE, str(root), str(tmp_path / "out")]
    done = subprocess.run(words, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["labels"] == 64 and not found["torch"]
    assert found["mb"] < 600
