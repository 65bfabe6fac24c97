"""Seconds of a clean `pip install .`, with and without nvcc on PATH: `python -m benchmarks.build_time --json F.json`.

Each install is of a copy of the checkout's tracked files into a folder of its own: a fresh build, nothing cached, no
dependency fetched and no isolated environment made (--no-build-isolation --no-deps), so that what is timed is the
compilation and the wheel. `--only "with nvcc"` or `--only "without nvcc"` times one of them; what the JSON file holds
of the other, of this commit, stays. The packages of pyproject's [build-system],
pip, cmake and ninja must be importable.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.record import stamp, write_json
from fastseg.cli import run

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """Where the result goes; pip is the command that installs, by default this interpreter's."""

    json: Path | None = None
    only: Literal["", "with nvcc", "without nvcc"] = ""
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


def earlier(path: Path | None) -> dict[str, Any]:
    """The installs that a result of this commit holds."""
    if path is None or not path.exists():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return dict(record["installs"]) if record["commit"] == stamp()["commit"] else {}


def main(config: Config) -> int:
    """0 after timing the installs asked for; without nvcc on PATH, the one."""
    path = os.environ.get("PATH", "")
    variants = {"without nvcc": path_without_nvcc(path)} | ({"with nvcc": path} if shutil.which("nvcc") else {})
    if "with nvcc" not in variants:
        print("with nvcc: not run, nvcc is not on PATH")
    for name in [name for name in variants if config.only in ("", name)]:
        figures = install(variants[name], config.pip)
        sizes = ", ".join(f"{module} {size:.1f} MB" for module, size in figures["modules_mb"].items())
        print(f"{name}: {figures['seconds']:.0f} s ({sizes})", flush=True)
        if config.json is not None:
            installs = {**earlier(config.json), name: figures}
            print(f"written to {write_json(config.json, {'op': 'build_time', **stamp(), 'installs': installs})}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
