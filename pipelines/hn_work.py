"""What a worker does with the frames of an HN-label run. Apart from the program: workers cannot import `__main__`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastseg.data.sensor_range import WithinRange
from fastseg.data.shards import Row
from fastseg.data.sources import Reader, open_source
from fastseg.data.tum import CameraName
from fastseg.frames import Frame, FrameError, FrameSource
from fastseg.labels.hn import HNConfig, HNLabel, label_frame
from fastseg.labels.hn_batch import Put, label_frames
from pipelines.one_shard import Clock


@dataclass(frozen=True)
class SourceAt:
    """Where a worker finds the frames: what `open_source` takes, so that paths and not frames are sent around.

    max_depth_m   depth beyond it is no measurement (see `WithinRange`)
    """

    reader: Reader
    root: Path
    depth_scale: float | None
    intrinsics: Path | None
    camera: CameraName | None
    split: str | None
    max_depth_m: float | None = None


@lru_cache(maxsize=1)
def opened(at: SourceAt) -> FrameSource:
    """The source, opened once in each process."""
    options = {name: getattr(at, name) for name in ("depth_scale", "intrinsics", "camera", "split")}
    source = open_source(at.reader, at.root, **options)
    return source if at.max_depth_m is None else WithinRange(source, at.max_depth_m)


def row_of(frame: Frame, made: HNLabel) -> Row:
    """The row of `shards.SCHEMA` of a frame and its label; the colour file's bytes pass through untouched."""
    return {
        "id": frame.id,
        "image": frame.image,
        "label": made.label.tobytes(),
        "height": made.label.shape[0],
        "width": made.label.shape[1],
        "up": made.up.tolist(),
        "floor_m": float(made.floor_m),
        "aligned_fraction": float(made.aligned_fraction),
        "valid_fraction": float(made.valid_fraction),
        "disagreement_deg": float(made.disagreement_deg),
        "bins": made.histogram.tolist(),
    }


@dataclass(frozen=True)
class LabelFrame:
    """The work of one frame: id -> label row of `shards.SCHEMA`; FrameError when the frame is rejected."""

    at: SourceAt
    hn: HNConfig

    def __call__(self, frame_id: str, clock: Clock) -> Row:
        source = opened(self.at)
        with clock("read"):
            frame = source.load(frame_id)
        with clock("label"):
            return row_of(frame, label_frame(frame, self.hn))


@dataclass(frozen=True)
class LabelBatch:
    """The same work, `batch` frames at a time: read one by one on the CPU, labelled where `put` takes their depth.

    num_gpus   the share of a GPU that a worker owns; 0 when `put` leaves the depth on the CPU
    """

    at: SourceAt
    hn: HNConfig
    put: Put
    batch: int = 64
    num_gpus: float = 0.0

    def read(self, frame_id: str, clock: Clock) -> Frame:
        """The frame, decoded; FrameError when it cannot be used."""
        with clock("read"):
            return opened(self.at).load(frame_id)

    def label(self, read: Sequence[Frame], clock: Clock) -> list[Row | FrameError]:
        """The row or the rejection of each frame, in order."""
        with clock("label"):
            made = label_frames(read, self.hn, self.put)
            return [m if isinstance(m, FrameError) else row_of(f, m) for f, m in zip(read, made, strict=True)]
