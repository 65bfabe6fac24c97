"""What was run on what: the machine, the versions, the date and the commit, and results written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
VERSIONS = ("numpy", "opencv-contrib-python-headless", "opencv-python-headless", "open3d", "kornia", "torch", "triton",
            "scipy", "ray", "pyarrow", "fastseg")  # fmt: skip


def _cpu_model() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """The installed version of every library that takes part in a benchmark."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this checkout, with "+" when tracked files differ from it."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=folder, capture_output=True)
    except FileNotFoundError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


def machine() -> dict[str, Any]:
    """Processor, usable cores, load, threads at the start, GPU; names neither the host nor a path."""
    gpu = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "gpu": gpu,
        "python": platform.python_version(),
    }


def stamp() -> dict[str, Any]:
    """`{date, commit, machine, versions}` of this moment."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": now, "commit": commit(), "machine": machine(), "versions": versions()}


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and numpy scalars as JSON; anything else is an error."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write a {type(value).__name__} into a result")


def write_json(path: Path, record: Mapping[str, Any]) -> Path:
    """`path`, once `record` stands there as JSON; TypeError or ValueError (NaN, inf) leaves no file behind."""
    text = json.dumps(record, indent=1, default=_plain) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
    return path


def write_result(name: str, payload: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Where `payload` was written: folder/<name>-<date>.json, with machine, versions, date and commit beside it."""
    record = {"name": name, **stamp(), "result": payload}
    return write_json(folder / f"{name}-{record['date'][:10]}.json", record)
