"""The label pipeline over a corpus: `python -m benchmarks.bench_pipeline --frames 40000 --json F.json --plot F.png`.

Renders a corpus of room frames in the `folder` layout (JPEG colour, 16-bit PNG depth; see pipeline_corpus: what is read
lies in the page cache), labels it by `pipelines.make_hn_labels` in a process of its own, watches that process and its
workers, checks the shards by `fastseg verify`, and times the parts alone in one process. The figures:
frames_per_second            frames over the wall seconds of the whole command, start-up and checksums included
frames_per_second_verified   the same with the seconds of `fastseg verify` added
frames_per_second_steady     between the first and the last shard: start and end left out
share_of_parts               frames_per_second over what `workers` processes would do if they did the parts and no more
cpu_ms_a_frame               processor time of driver, workers and Ray's processes
mb_per_10k_frames            growth of the driver, of the largest worker and of Ray's processes after the first fifth
Frames of another size than 480x640 (`--size 48x64 --frames 100000`) are for the growth: nothing is projected from them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.pipeline_corpus import write_corpus
from benchmarks.pipeline_parts import parts_ms, settings
from benchmarks.pipeline_projection import projection
from benchmarks.pipeline_watch import CHECKOUT, Sample, slope, steady_rate, watched
from benchmarks.record import stamp, write_json
from benchmarks.threads import one_thread
from fastseg.cli import run
from fastseg.data.folder import Folder

SHARD = 64
WATCHED = ("driver", "worker", "others")


@dataclass(frozen=True)
class Config:
    """What to measure.

    frames     of the corpus
    distinct   rendered frames; the rest are the same files under other names
    size       of a frame, height x width
    workers    label processes
    every_s    seconds between two looks at the run
    seed       of the rooms
    folder     where corpus and shards lie while it runs, instead of the system's temporary folder
    json       where to write the figures
    plot       where to draw frames and memory over time
    """

    frames: int = 40_000
    distinct: int = 240
    size: str = "480x640"
    workers: int = 2
    every_s: float = 0.5
    seed: int = 20
    folder: Path | None = None
    json: Path | None = None
    plot: Path | None = None


def verified(out: Path) -> tuple[float, str]:
    """Wall seconds and last line of `fastseg verify OUT`; ValueError when it finds a problem."""
    start = time.monotonic()
    words = [sys.executable, "-m", "fastseg", "verify", str(out)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"fastseg verify found problems: {(done.stdout + done.stderr).strip()[-500:]}")
    told = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    return time.monotonic() - start, told.replace(f"{out}: ", "")


def labelled(config: Config, folder: Path) -> tuple[dict[str, Any], list[Sample], dict[str, float]]:
    """(a row of figures, what was seen over time, milliseconds of the parts alone)."""
    height, width = (int(part) for part in config.size.split("x"))
    root, out = folder / "corpus", folder / "out"
    bytes_read = write_corpus(root, config.frames, config.distinct, height, width, config.seed)
    words = ["-m", "pipelines.make_hn_labels", "--reader", "folder", "--root", str(root), "--out", str(out)]
    hn = settings(height)
    words += [f"--hn.{name}={getattr(hn, name)}" for name in ("radius", "gravity_radius", "stride")]
    seconds, samples = watched([*words, "--workers", str(config.workers)], out, config.every_s)
    about = json.loads((out / "run.json").read_text("utf-8"))
    verify_s, told = verified(out)
    ids = Folder(root).ids()
    parts = parts_ms(root, ids[: min(config.distinct, 256)], hn, SHARD, folder)
    alone = 1e3 * max(config.workers, 1) / sum(parts.values())
    frames = about["counts"]["frames"]
    shards = sum(path.stat().st_size for path in (out / "labels").glob("*.parquet"))
    busy = [s for s in samples if s.workers and s.shards]  # without start and end
    at = [s.shards * SHARD for s in busy]
    used = [max(seconds) for seconds in zip(*(s.cpu_s for s in samples), strict=True)]
    return {
        "case": f"{config.size} folder, {config.workers} workers", "frames": frames, "counts": about["counts"],
        "wall_s": seconds, "verify_s": verify_s, "verify": told,
        "frames_per_second": frames / seconds, "frames_per_second_verified": frames / (seconds + verify_s),
        "frames_per_second_by_run_json": about["frames_per_second"],
        "frames_per_second_steady": steady_rate(samples, SHARD),
        "parts_frames_per_second": alone, "share_of_parts": frames / seconds / alone,
        "worker_ms_a_frame": {stage: 1e3 * s / frames for stage, s in about["seconds"].items()},
        "cpu_ms_a_frame": dict(zip(("driver", "workers", "ray"), (1e3 * s / frames for s in used), strict=True)),
        "bytes_read_a_frame": bytes_read, "bytes_written_a_frame": shards / frames,
        "peak_mb": {name: max((getattr(s, name) for s in samples), default=0.0) for name in WATCHED},
        "mb_per_10k_frames": {name: slope(at, [getattr(s, name) for s in busy]) for name in WATCHED},
    }, samples, parts  # fmt: skip


def show(row: Mapping[str, Any], parts: Mapping[str, float]) -> None:
    """Prints the figures, one a line."""
    print(f"{row['case']}: {row['frames']} frames in {row['wall_s']:.1f} s; verify {row['verify_s']:.1f} s")
    for name in ("frames_per_second", "frames_per_second_verified", "frames_per_second_steady", "share_of_parts"):
        print(f"  {name:28}{'unknown' if row[name] is None else format(row[name], '10.2f')}")
    print("  parts alone, ms a frame:    " + ", ".join(f"{name} {ms:.2f}" for name, ms in parts.items()))
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in row["worker_ms_a_frame"].items())
    print(f"  in the workers, ms a frame: {stages}")
    used = ", ".join(f"{name} {ms:.2f}" for name, ms in row["cpu_ms_a_frame"].items())
    print(f"  processor ms a frame:       {used}")
    grown = ", ".join(
        f"{k} {row['peak_mb'][k]:.0f} MB" + ("" if v is None else f" ({v:+.2f} MB a 10,000 frames)")
        for k, v in row["mb_per_10k_frames"].items()
    )
    print(f"  memory at most: {grown}")


def draw(samples: Sequence[Sample], path: Path) -> Path:
    """`path`, a picture of frames a second and of memory over the run's time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True, layout="constrained")
    step = max(len(samples) // 60, 1)
    some = samples[::step]
    rates = [SHARD * (b.shards - a.shards) / (b.seconds - a.seconds) for a, b in pairwise(some)]
    above.step([s.seconds for s in some[1:]], rates, where="pre", color="#1b4f72")
    above.set(ylabel="frames a second", ylim=(0, None), title="labels of a corpus, from files to shards")
    for name, color in (("worker", "#1b4f72"), ("driver", "#d68910"), ("others", "#999999")):
        label = {"worker": "largest worker", "driver": "driver", "others": "Ray's own processes"}[name]
        below.plot([s.seconds for s in samples], [getattr(s, name) for s in samples], color=color, label=label)
    below.set(xlabel="seconds", ylabel="resident MB", ylim=(0, None))
    below.legend(frameon=False, fontsize=8)
    for axes in (above, below):
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def main(config: Config) -> int:
    """0 after printing, writing and drawing the figures."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", config.size) or min(config.frames, config.distinct, config.workers) < 1:
        raise ValueError("--size must be HEIGHTxWIDTH; --frames, --distinct and --workers at least 1")
    folder = Path(tempfile.mkdtemp(prefix="pipeline-", dir=config.folder))
    try:
        row, samples, parts = labelled(config, folder)
    finally:
        shutil.rmtree(folder)
    show(row, parts)
    projected = projection(row, parts, config.workers) if config.size == "480x640" else {}
    for line in projected.get("lines", ()):
        print(f"  {line}")
    if config.json is not None:
        record = {"op": "pipeline", **stamp(), "rows": [row], "parts_ms": parts, "projection": projected}
        record["samples"] = [asdict(s) for s in samples[:: max(len(samples) // 200, 1)]]
        print(f"written to {write_json(config.json, record)}")
    if config.plot is not None:
        print(f"drawn in {draw(samples, config.plot)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
