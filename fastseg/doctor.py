"""What is installed and what works here: versions, compiled backends, the GPU, threads."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fastseg import __version__
from fastseg.cli import run

PACKAGES = ("numpy", "numba", "torch", "torchvision", "timm", "segmentation-models-pytorch", "pyarrow", "h5py", "scipy")
OPTIONAL = ("ray", "cupy-cuda13x", "open3d", "opencv-contrib-python-headless")


@dataclass(frozen=True)
class DoctorConfig:
    """What is installed, which backends work, what is missing.

    json    print one JSON object instead of lines
    """

    json: bool = False


def version(package: str) -> str:
    """The installed version of a distribution, or `"not installed"`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def backend(name: str) -> str:
    """One line about a compiled module: how it was built and what it can run on, or why it cannot be imported."""
    try:
        module = importlib.import_module(f"fastseg.{name}")
    except ImportError as error:
        return f"absent ({error}); `pip install -e .` from a checkout builds it"
    facts = ", ".join(f"{key} {value}" for key, value in module.compiled().items())
    devices = f"; {module.device_count()} GPU(s) usable" if name == "_cuda" else ""
    return f"works ({facts}){devices}"


def gpu() -> str:
    """What torch sees of a GPU."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return "none that torch can use"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def facts() -> dict[str, str]:
    """Every line of the report, in order."""
    threads = os.environ.get("OMP_NUM_THREADS", "not set (one worker, one thread: set it to 1 in workers)")
    return {
        "fastseg": f"{__version__} at {os.path.dirname(os.path.abspath(__file__))}",
        "python": f"{sys.version.split()[0]} on {platform.platform()}",
        "_cpu": backend("_cpu"),
        "_cuda": backend("_cuda"),
        "gpu": gpu(),
        "cpu cores": str(len(os.sched_getaffinity(0))),
        "OMP_NUM_THREADS": threads,
        "free disk here": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB",
        **{package: version(package) for package in PACKAGES},
        **{f"{package} (optional)": version(package) for package in OPTIONAL},
    }


def main(config: DoctorConfig) -> int:
    """0 when the CPU backend works, 1 when it is absent."""
    found = facts()
    print(json.dumps(found, indent=2) if config.json else "\n".join(f"{k:32} {v}" for k, v in found.items()))
    return 0 if found["_cpu"].startswith("works") else 1


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m fastseg.doctor`."""
    return run(DoctorConfig, main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
