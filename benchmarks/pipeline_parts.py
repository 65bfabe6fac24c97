"""The parts of the pipeline, each alone in this process: what a worker would do if nothing came between them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastseg.data.folder import Folder
from fastseg.data.shards import Row, ShardWriter
from fastseg.frames import Frame, FrameError
from fastseg.labels.hn import HNConfig, HNLabel, label_frame
from pipelines.hn_work import row_of

PARTS = ("decode", "label", "encode", "write")


def settings(height: int) -> HNConfig:
    """The label's settings for frames of that height: the defaults, narrower windows below 240 rows."""
    if height >= 240:
        return HNConfig()
    return HNConfig(radius=max(1, 5 * height // 480), gravity_radius=max(2, 10 * height // 480), stride=1)


def parts_ms(
    root: Path, ids: Sequence[str], config: HNConfig, shard_size: int, scratch: Path, rounds: int = 3
) -> dict[str, float]:
    """Milliseconds a frame of each part, the least of some rounds over the same frames.

    decode   files to a checked Frame: the depth decoded, the colour's bytes checked
    label    Frame to HNLabel, rejected frames included
    encode   HNLabel to a row of the shard's schema
    write    rows to Parquet: digests, compression, the file made durable
    """
    source = Folder(root)
    least: dict[str, float] = {}
    for _ in range(rounds):
        spent = dict.fromkeys(PARTS, 0.0)
        for start in range(0, len(ids), shard_size):
            with _timed(spent, "decode"):
                frames = [source.load(frame_id) for frame_id in ids[start : start + shard_size]]
            with _timed(spent, "label"):
                made = _labelled(frames, config)
            with _timed(spent, "encode"):
                rows = [row_of(frame, label) for frame, label in made]
            with _timed(spent, "write"):
                _written(scratch / "part.parquet", rows)
        for name, seconds in spent.items():
            milliseconds = 1e3 * seconds / len(ids)
            least[name] = min(least.get(name, milliseconds), milliseconds)
    return least


@contextmanager
def _timed(spent: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent[name] += time.perf_counter() - start


def _labelled(frames: Sequence[Frame], config: HNConfig) -> list[tuple[Frame, HNLabel]]:
    found = []
    for frame in frames:
        try:
            found.append((frame, label_frame(frame, config)))
        except FrameError:
            continue
    return found


def _written(path: Path, rows: Sequence[Row]) -> None:
    with ShardWriter(path, {}) as writer:
        for row in rows:
            writer.add(row)
        writer.commit()
