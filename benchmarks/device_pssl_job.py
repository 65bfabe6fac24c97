"""The PSSL pipeline on a GPU: `python -m benchmarks.device_pssl_job --out DIR` writes DIR/device-pssl_job-<date>.json.

Pictures of ImageNet's size are labelled by `pipelines.make_pssl_labels --device cuda`: over Ray with tasks that decode
ahead of the worker and without them, and inline. Each run is checked by `fastseg verify`, and all must hold the same
ids; the share of rows that are the same bit by bit is told (a GPU's convolutions may add up in any order). `--device
cpu` is for a look at it without a GPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from benchmarks.bench_pipeline import verified
from benchmarks.pipeline_watch import CHECKOUT
from benchmarks.pssl_corpus import write_classifiers, write_pictures
from benchmarks.pssl_job import digests
from benchmarks.record import stamp, write_json
from fastseg.cli import run

RUNS = {"inline": (0, 0), "worker reads": (1, 0), "tasks read ahead": (1, 2)}  # workers, readers


@dataclass(frozen=True)
class Config:
    """What to label.

    out       the folder for the figures
    pictures  of the corpus
    side      pixels of a side of the pictures
    size      of a side of the label and of the classifiers' input
    samples   noisy copies of each
    device    cuda or cpu
    """

    out: Path
    pictures: int = 256
    side: int = 448
    size: int = 224
    samples: int = 50
    device: Literal["cuda", "cpu"] = "cuda"


def words(config: Config, folder: Path, out: Path, workers: int, readers: int) -> list[str]:
    """The command of one run."""
    models = folder / "models" / "models.json"
    found = ["-m", "pipelines.make_pssl_labels", "--layout", "imagefolder", "--root", str(folder / "pictures")]
    found += ["--models", str(models), "--classes", str(models.with_name("classes.txt")), "--out", str(out)]
    found += [f"--pssl.size={config.size}", f"--pssl.samples={config.samples}", "--device", config.device]
    return [*found, "--workers", str(workers), f"--tuning.readers={readers}", "--tuning.shard_size=32"]


def labelled(config: Config, folder: Path, name: str) -> dict[str, Any]:
    """The figures of one of RUNS; ValueError when it fails or `verify` finds a problem."""
    out = folder / name.replace(" ", "-")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words(config, folder, out, *RUNS[name])], cwd=CHECKOUT, capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"{name}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    seconds = time.monotonic() - start
    verified(out)
    about = json.loads((out / "run.json").read_text("utf-8"))
    stages = {stage: 1e3 * s / config.pictures for stage, s in about["seconds"].items()}
    rate = {"wall_s": seconds, "pictures_per_second": about["frames_per_second"], "worker_ms_a_picture": stages}
    return {"run": name, **rate, "counts": about["counts"]}


def main(config: Config) -> int:
    """0 after printing and writing the figures; AssertionError where two runs label other pictures."""
    folder = Path(tempfile.mkdtemp(prefix="pssl-job-"))
    try:
        write_pictures(folder / "pictures", config.pictures, config.side, odd_every=100)
        write_classifiers(folder / "models", config.size)
        rows = [
            labelled(config, folder, name) for name, (workers, _) in RUNS.items() if not workers or find_spec("ray")
        ]
        found = [digests(folder / row["run"].replace(" ", "-")) for row in rows]
    finally:
        shutil.rmtree(folder)
    for row, own in zip(rows, found, strict=True):
        assert own.keys() == found[0].keys(), f"{row['run']} labels other pictures than the first"
        row["rows_alike"] = sum(own[name] == found[0][name] for name in own) / len(own)
        print(f"{row['run']:20}{row['pictures_per_second']:8.2f} pictures/s, {row['rows_alike']:.1%} of the rows alike")
    at = stamp()
    record = {"op": "pssl_job", **at, "rows": rows, "samples": config.samples, "size": config.size}
    write_json(config.out / f"device-pssl_job-{at['date'][:10]}.json", record)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
