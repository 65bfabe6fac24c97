"""The stages of `benchmarks.device`: what each runs, how long it may take, and what came of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

CHECKOUT = Path(__file__).parents[1]
CUDA_BIN = Path("/usr/local/cuda/bin")
PYTHON = (sys.executable, "-m")
OPS = ("normals", "hn_labels", "photometric", "gated_conv", "decile_rank")
RACES = (*OPS, "gating_head", "pssl", "structure")
CHECKS = ("memcheck", "racecheck", "synccheck", "initcheck")
LEAST_S = 10.0  # a stage with less time than this is not started


@dataclass(frozen=True)
class Stage:
    """limit_s: seconds it may take; reserve_s: seconds that must be left for the stages after it."""

    limit_s: float
    reserve_s: float


STAGES: Mapping[str, Stage] = {
    "build": Stage(200, 250),
    "rates": Stage(40, 200),
    **{op: Stage(limit, 150) for op, limit in zip(RACES, (70, 50, 100, 110, 60, 60, 70, 60), strict=True)},
    "tests": Stage(150, 70),
    "memcheck": Stage(90, 30),
    "racecheck": Stage(90, 0),
    "synccheck": Stage(60, 0),
    "initcheck": Stage(60, 0),
    "pssl_job": Stage(110, 0),
}


@dataclass(frozen=True)
class Outcome:
    """status: passed, failed or not run; told: why, or the last lines of the stage; figures: what it counted."""

    stage: str
    status: str
    seconds: float
    told: str
    figures: Mapping[str, float] = field(default_factory=dict)


def run_stage(name: str, out: Path, left_s: float) -> Outcome:
    """Runs a stage within the seconds that are left."""
    stage = STAGES[name]
    limit = min(stage.limit_s, left_s - stage.reserve_s)
    if limit < LEAST_S:
        return Outcome(name, "not run", 0.0, f"only {max(left_s, 0):.0f} s were left")
    if name == "build" and built():
        return Outcome(name, "passed", 0.0, "the CUDA module is there already")
    if name == "tests":
        return run_tests(limit)
    command = commands(name, out)
    if command is None:
        return Outcome(name, "not run", 0.0, "compute-sanitizer is not installed")
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if name in CHECKS else {}
    outcome = run_process(name, command, limit, environment)
    if name == "build" and outcome.status == "passed" and not built():
        return Outcome(name, "failed", outcome.seconds, f"no CUDA module came of it: {outcome.told}")
    return outcome


def commands(name: str, out: Path) -> list[str] | None:
    """The command line of a stage; None where its tool is missing."""
    if name == "build":
        return [*PYTHON, "pip", "install", "--no-build-isolation", "--no-deps", "-e", str(CHECKOUT)]
    if name == "rates":
        return [*PYTHON, "benchmarks.device_rates", "--out", str(out)]
    if name == "pssl_job":
        return [*PYTHON, "benchmarks.device_pssl_job", "--out", str(out)]
    if name in RACES:
        return [*PYTHON, "benchmarks.device_ops", "--op", name, "--out", str(out)]
    tool = sanitizer()
    if tool is None:
        return None
    # fs is the kernels' namespace, "2fs" in every mangled name of theirs; torch's own kernels are left alone, except by
    # initcheck, which must see who wrote what ours read.
    watched = [] if name == "initcheck" else ["--kernel-name", "kns=2fs"]
    options = ["--tool", name, *watched, "--error-exitcode", "77", "--print-limit", "20"]
    return [tool, *options, *PYTHON, "benchmarks.device_sanitize"]


def sanitizer() -> str | None:
    """Where compute-sanitizer is: on PATH, in the toolkit, or in the package nvidia-cuda-sanitizer-api."""
    places = [Path(path) for path in os.environ.get("PATH", "").split(os.pathsep)] + [CUDA_BIN]
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations or () if package is not None else ():
        places += sorted(Path(folder).glob("*/bin"))
    return shutil.which("compute-sanitizer", path=os.pathsep.join(map(str, places)))


def built() -> bool:
    """Whether a new process finds the CUDA module; a new one, for this one may have started before the build."""
    code = "import torch; from fastseg.ops import arrays; arrays.backend(torch.empty(1, device='cuda'))"
    return run_process("build", [sys.executable, "-c", code], 60, {}).status == "passed"


def run_process(name: str, command: Sequence[str], limit_s: float, environment: Mapping[str, str]) -> Outcome:
    """Runs a command in the checkout and ends it, with all it started, at the limit."""
    path = os.pathsep.join([os.environ.get("PATH", ""), str(CUDA_BIN)])
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "4", **environment},
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        output.seek(0)
        tail = plain(output.read()[-3000:])
    seconds = time.monotonic() - started
    if code == 0:
        return Outcome(name, "passed", seconds, last_line(tail))
    why = f"ran past its {limit_s:.0f} s" if code is None else f"exit code {code}"
    return Outcome(name, "failed", seconds, f"{why}: {tail[-1500:]}")


def plain(text: str) -> str:
    """The text without what names this machine's folders."""
    for place, word in (
        (CHECKOUT, "."),
        (Path(sys.prefix), "PREFIX"),
        (Path.home(), "~"),
        (tempfile.gettempdir(), "TMP"),
    ):
        text = text.replace(str(place), word)
    return text


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[-200:] if lines else ""


def run_tests(limit_s: float) -> Outcome:
    """The tests that need a GPU and those of the `device` fixture on it; failed, too, when not one of them ran."""
    spread = ["-n", "8"] if importlib.util.find_spec("xdist") is not None else []
    marked = [
        str(path) for path in sorted(CHECKOUT.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text("utf-8")
    ]
    sets = {"device fixture": ["-k", "cuda", "tests/ops"]} | ({"marked gpu": ["-m", "gpu", *marked]} if marked else {})
    seconds, told, counts = 0.0, [], {"ran": 0.0, "failed": 0.0, "skipped": 0.0}
    for what, chosen in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "tests.xml"
            command = [*PYTHON, "pytest", "-q", "-p", "no:cacheprovider", *spread, f"--junitxml={report}", *chosen]
            outcome = run_process("tests", command, max(limit_s - seconds, 1), {})
            found = counted(report)
        seconds += outcome.seconds
        for key, value in found.items():
            counts[key] += value
        if outcome.status == "failed" and not re.match(r"exit code 5\b", outcome.told):  # 5: no test of that kind
            told.append(f"{what}: {outcome.told}")
    status = "failed" if told or counts["failed"] or not counts["ran"] else "passed"
    shown = (
        "; ".join(told) or f"{counts['ran']:.0f} ran, {counts['failed']:.0f} failed, {counts['skipped']:.0f} skipped"
    )
    return Outcome("tests", status, seconds, shown, counts)


def counted(report: Path) -> dict[str, float]:
    """How many tests ran, failed and were skipped, from pytest's report; nothing where there is none."""
    if not report.exists():
        return {}
    suites = list(ElementTree.parse(report).iter("testsuite"))
    total, failed, skipped = (
        sum(float(suite.get(key, 0)) for suite in suites for key in keys)
        for keys in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return {"ran": total - skipped, "failed": failed, "skipped": skipped}
