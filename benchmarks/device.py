"""All that a GPU can show, in one command under nine minutes: `python -m benchmarks.device --out DIR`.

Stages, each a process of its own with a limit, so that one that hangs or crashes costs only itself:
build        `pip install -e . --no-build-isolation --no-deps`, unless the CUDA module is there already
rates        the limits of this GPU: GB/s of a device-to-device copy, TFLOP/s of bf16, tf32 and fp32 matrix products
<op>         agreement, then CUDA-event times of every kernel of the op beside its peers and the rates, cold or in
             large batches: normals, hn_labels, photometric, gated_conv, decile_rank
gating_head  the same of the gating head and a whole gated ResNet-50
pssl         passes a second of SmoothGrad beside captum's; needs captum and timm as well
structure    a training step of the label-structure paper's networks without and with each regulariser
tests        `pytest -m gpu`, and every test of the `device` fixture on this GPU
memcheck, racecheck, synccheck, initcheck   compute-sanitizer over every kernel at sizes 1, 31, 33 and 257
pssl_job     `pipelines.make_pssl_labels --device cuda`: inline, over Ray, and with tasks that decode ahead; same rows
DIR gets device-<op>-<date>.json (rows, threads 0: the GPU) and device-stages-<date>.json: what every stage did,
`passed`, `failed` or `not run` with the reason. The exit code is 0 when every stage that could run passed, 1 when one
failed (it is named), 2 without a CUDA device. Needs jsonargparse, numba, pytest, pytest-timeout and hypothesis beside
torch, and for the build pybind11, scikit-build-core, cmake, ninja and `nvcc` (on PATH or in /usr/local/cuda/bin).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device_stages import STAGES, Outcome, run_stage
from benchmarks.record import stamp, write_json
from fastseg.cli import run


@dataclass(frozen=True)
class Config:
    """Where results go and how long it may take.

    out       the folder for the results
    budget_s  seconds for everything; a stage that no longer fits is `not run`
    stages    names of the stages to run, in the order of the table above; all when empty
    """

    out: Path
    budget_s: float = 525.0
    stages: tuple[str, ...] = ()


def require_gpu() -> None:
    """Raises ValueError with one sentence when there is no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        raise ValueError("no CUDA device here: nothing was run")


def chosen(names: tuple[str, ...]) -> list[str]:
    """The stages to run; ValueError for a name that is none."""
    unknown = set(names) - set(STAGES)
    if unknown:
        raise ValueError(f"--stages: no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    return [name for name in STAGES if not names or name in names]


def run_all(names: list[str], out: Path, budget_s: float) -> list[Outcome]:
    """Each stage's outcome; the file of outcomes is written after each, so that a kill loses no more than one."""
    start = time.monotonic()
    outcomes: list[Outcome] = []
    at = stamp()
    for name in names:
        left = budget_s - (time.monotonic() - start)
        built = all(o.status == "passed" for o in outcomes if o.stage == "build")
        if not built:
            outcome = Outcome(name, "not run", 0.0, "the CUDA module was not built")
        else:
            outcome = run_stage(name, out, left)
        outcomes.append(outcome)
        print(f"{name:12}{outcome.status:9}{outcome.seconds:7.1f} s  {outcome.told}", flush=True)
        write_json(out / f"device-stages-{at['date'][:10]}.json", {"op": "device", **at, "stages": outcomes})
    return outcomes


def main(config: Config) -> int:
    """0 when every stage that could run passed, 1 when one failed; ValueError (exit code 2) without a GPU."""
    names = chosen(config.stages)
    require_gpu()
    config.out.mkdir(parents=True, exist_ok=True)
    outcomes = run_all(names, config.out.resolve(), config.budget_s)
    failed = [outcome.stage for outcome in outcomes if outcome.status == "failed"]
    idle = [outcome.stage for outcome in outcomes if outcome.status == "not run"]
    if idle:
        print(f"not run: {', '.join(idle)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
