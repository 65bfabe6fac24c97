"""What a worker does with one frame of an HN-label run. Apart from the program: workers cannot import `__main__`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from fastseg.data.shards import Row
from fastseg.data.sources import Reader, open_source
from fastseg.data.tum import CameraName
from fastseg.frames import FrameSource
from fastseg.labels.hn import HNConfig, label_frame
from pipelines.one_shard import Clock


@dataclass(frozen=True)
class SourceAt:
    """Where a worker finds the frames: what `open_source` takes, so that paths and not frames are sent around."""

    reader: Reader
    root: Path
    depth_scale: float | None
    intrinsics: Path | None
    camera: CameraName | None
    split: str | None


@lru_cache(maxsize=1)
def opened(at: SourceAt) -> FrameSource:
    """The source, opened once in each process."""
    options = {key: value for key, value in asdict(at).items() if key not in ("reader", "root")}
    return open_source(at.reader, at.root, **options)


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
            made = label_frame(frame, self.hn)
        return {
            "id": frame_id,
            "image": frame.image,
            "label": made.label.tobytes(),
            "height": made.label.shape[0],
            "width": made.label.shape[1],
            "up": [float(x) for x in made.up],
            "floor_m": float(made.floor_m),
            "aligned_fraction": float(made.aligned_fraction),
            "valid_fraction": float(made.valid_fraction),
            "disagreement_deg": float(made.disagreement_deg),
            "bins": [int(count) for count in made.histogram],
        }
