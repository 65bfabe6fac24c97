"""Seconds of a clean `pip install .`, with and without nvcc on PATH: `python -m benchmarks.build_time --json F.json`.

Each install is of a copy of the checkout's tracked files into a folder of its own: a fresh build, nothing cached, no
dependency fetched and no isolated environment made (--no-build-isolation --no-deps), so that what is timed is the
compilation and the wheel. The packages of pyproject's [build-system], pip, cmake and ninja must be importable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import stamp, write_json
from fastseg.cli import run

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """Where the result goes; pip is the command that installs, by default this interpreter's."""

    json: Path | None = None
    pip: tuple[str, ...] = (sys.executable, "-m", "pip")


def path_without_nvcc(path: str) -> str:
    """PATH less every folder that holds nvcc."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if not (Path(folder) / "nvcc").exists())


def tracked_copy(target: Path) -> Path:
    """A copy of the tracked files; ValueError outside a git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"the build is timed from a git checkout: {listed.stderr.strip()}")
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, target / name)
    return target


def install(path: str, pip: tuple[str, ...]) -> dict[str, Any]:
    """Seconds of one install under that PATH, its kernels' modules and their sizes; ValueError when pip fails."""
    with tempfile.TemporaryDirectory() as folder:
        source, site = tracked_copy(Path(folder) / "source"), Path(folder) / "site"
        # CUDACXX empty is as good as unset; a compiler named there would be found without PATH.
        environment = {**os.environ, "PATH": path, "CUDACXX": "", "PIP_NO_CACHE_DIR": "1"}
        command = [*pip, "install", "--no-build-isolation", "--no-deps", "--target", str(site), str(source)]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise ValueError(f"pip ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        modules = {made.name.partition(".")[0]: made.stat().st_size / 1e6 for made in site.glob("fastseg/_*.so")}
    return {"seconds": seconds, "modules_mb": modules}


def main(config: Config) -> int:
    """0 after timing both installs; without nvcc on PATH, the one."""
    path = os.environ.get("PATH", "")
    found = {"without nvcc": install(path_without_nvcc(path), config.pip)}
    if shutil.which("nvcc"):
        found["with nvcc"] = install(path, config.pip)
    else:
        print("with nvcc: not run, nvcc is not on PATH")
    for name, figures in found.items():
        sizes = ", ".join(f"{module} {size:.1f} MB" for module, size in figures["modules_mb"].items())
        print(f"{name}: {figures['seconds']:.0f} s ({sizes})")
    if config.json is not None:
        print(f"written to {write_json(config.json, {'op': 'build_time', **stamp(), 'installs': found})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
