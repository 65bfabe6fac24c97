"""A whole label beside its peers, and the pipeline: `python -m benchmarks.bench_labels --root REDKITCHEN`.

label      One frame on one thread, from a depth image in memory to the label map, contestants in turn: ours; the best
           assembled peer (benchmarks/peers_label.py); the public HHA algorithm (benchmarks/peers_hha.py) with its
           dense window sums, and with OpenCV's. `read` is the reader's time for the same frame (decoding included).
pipeline   `pipelines.make_hn_labels` from files to shards with each number of workers, each worker one thread, on a
           folder that holds the data set `copies` times and on one that holds it once. The figures are of the
           larger: wall seconds from start to exit (imports and Ray's start included), run.json's rate, and
           the workers' seconds by stage. `steady_frames_per_second` is the difference in frames over the difference in
           wall seconds, which leaves the start-up out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import peers_hha, peers_label
from benchmarks.timing import Timing, interleaved, one_thread, write_result
from fastseg.cli import run
from fastseg.data.seven_scenes import SevenScenes
from fastseg.frames import Frame, FrameError
from fastseg.labels.hn import HNConfig, label_frame

CHECKOUT = Path(__file__).parents[1]
OURS, PEER, HHA, HHA_OPENCV = "fastseg", "assembled peer", "HHA", "HHA, OpenCV sums"


@dataclass(frozen=True)
class Config:
    """What to measure, on a folder in the 7-Scenes layout."""

    root: Path
    repeats: int = 31  # timed calls of each contestant
    budget_s: float = 8.0  # a contestant that has used this much sits out after three calls
    copies: int = 8  # of the data set, in the larger folder
    workers: tuple[int, ...] = (1, 2)
    label: bool = True
    pipeline: bool = True
    out: Path | None = None


def first_accepted(source: SevenScenes) -> Frame:
    """The first frame that both ours and the peers accept, so that all of them do all their work."""
    for frame_id in source.ids():
        frame = source.load(frame_id)
        try:
            peers_label.label_frame(frame)
            peers_hha.label_frame(frame, peers_hha.opencv_sums)
            label_frame(frame, HNConfig())
        except FrameError:
            continue
        return frame
    raise ValueError(f"{source.root}: no frame is accepted by ours and the peers")


def label_times(config: Config) -> dict[str, Any]:
    """The contestants' times on one frame, and how many times ours goes into each."""
    source = SevenScenes(config.root)
    frame = first_accepted(source)
    settings = HNConfig()
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: label_frame(frame, settings),
        PEER: lambda: peers_label.label_frame(frame),
        HHA: lambda: peers_hha.label_frame(frame),
        HHA_OPENCV: lambda: peers_hha.label_frame(frame, peers_hha.opencv_sums),
        "read": partial(source.load, frame.id),
    }
    timed = interleaved(calls, config.repeats, warm_up=2, budget_s=config.budget_s)
    over = {name: timed[name].median_ms / timed[OURS].median_ms for name in (PEER, HHA, HHA_OPENCV)}
    return {"frame": frame.id, "times": timed, "times_ours": over}


def copied(root: Path, target: Path, copies: int) -> Path:
    """A folder that holds the data set so many times, in folders copy-00, copy-01, ..."""
    for number in range(copies):
        shutil.copytree(root, target / f"copy-{number:02d}", ignore=shutil.ignore_patterns("*.txt.gz", "README*"))
    matrix = root / "camera-intrinsics.txt"
    if matrix.exists():
        shutil.copyfile(matrix, target / matrix.name)
    return target


def pipeline_run(root: Path, out: Path, workers: int) -> tuple[float, Mapping[str, Any]]:
    """Wall seconds of one pipeline run from files to shards, and its run.json."""
    command = [sys.executable, "-m", "pipelines.make_hn_labels", "--reader", "7scenes", "--root", str(root)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(out), "--workers", str(workers)], cwd=CHECKOUT, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ValueError(f"the pipeline ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds, json.loads((out / "run.json").read_text("utf-8"))


def steady_rate(frames: int, seconds: float) -> float | None:
    """Frames a second, None where the runs differ by less than 2 s: start-up alone varies by a good part of that."""
    return frames / seconds if seconds >= 2 else None


def pipeline_times(config: Config) -> dict[str, Any]:
    """The pipeline's figures for each number of workers (see the module's text)."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        once = copied(config.root, Path(folder) / "once", 1)
        often = copied(config.root, Path(folder) / "often", config.copies)
        for workers in config.workers:
            short_s, short = pipeline_run(once, Path(folder) / f"out-once-{workers}", workers)
            long_s, long = pipeline_run(often, Path(folder) / f"out-often-{workers}", workers)
            frames = long["counts"]["frames"]
            found[str(workers)] = {
                "frames": frames,
                "counts": long["counts"],
                "wall_s": long_s,
                "frames_per_second_by_run_json": long["frames_per_second"],
                "steady_frames_per_second": steady_rate(frames - short["counts"]["frames"], long_s - short_s),
                "worker_ms_a_frame": {stage: 1e3 * s / frames for stage, s in long["seconds"].items()},
            }
    return found


def show_label(found: Mapping[str, Any]) -> None:
    """Prints one line a contestant."""
    timed: Mapping[str, Timing] = found["times"]
    for name, timing in timed.items():
        over = f"   {found['times_ours'][name]:.1f} times ours" if name in found["times_ours"] else ""
        print(f"{name:18}{timing.median_ms:10.2f} ms{over}")


def show_pipeline(found: Mapping[str, Any]) -> None:
    """Prints one line a number of workers, and the stages."""
    for workers, figures in found.items():
        stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in figures["worker_ms_a_frame"].items())
        rate = figures["steady_frames_per_second"]
        steady = "rate unknown, raise --copies" if rate is None else f"{rate:.0f} frames/s steady"
        whole = f"{figures['frames']} frames in {figures['wall_s']:.1f} s with start-up"
        print(f"{workers} workers: {steady}, {whole}; worker ms a frame: {stages}")


def main(config: Config) -> int:
    """0 after printing the figures."""
    if config.copies < 2:
        raise ValueError(f"--copies must be at least 2; got {config.copies}")
    found: dict[str, Any] = {}
    if config.label:
        found["label"] = label_times(config)
        show_label(found["label"])
    if config.pipeline:
        found["pipeline"] = pipeline_times(config)
        show_pipeline(found["pipeline"])
    if config.out is not None:
        print(f"written to {write_result(config.out.stem, found, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
