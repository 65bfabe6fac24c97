"""A Ray to run on: one started here for this run, an existing cluster, or the one this process is connected to."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray

OBJECT_STORE = 100 << 20  # bytes; results are counts, not pictures
FRAMES = 32 << 20  # bytes beside it for each shard whose frames are read ahead
# What Ray notes of every task, for `ray list tasks`: 5 KB each in the driver, in the workers and in its own processes.
NO_TASK_EVENTS = {"task_events_report_interval_ms": 0}


class NoRayError(OSError):
    """Ray did not start on this machine, for no fault of the command: programs say so in a sentence, exit code 1."""

    def __init__(self, error: BaseException) -> None:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        super().__init__(f"Ray did not start on this machine ({line}); when it is less busy the same command may do")
        self.errno = errno.EIO


class RayDiedError(OSError):
    """The Ray that was started here came to its end: programs say so in a sentence, exit code 1."""

    def __init__(self) -> None:
        super().__init__("Ray's node on this machine died; what is complete stays, and the same command goes on")
        self.errno = errno.EIO


@contextmanager
def ray_session(workers: int, address: str | None, ahead: int = 0) -> Iterator[None]:
    """A running Ray in the block, quiet, without dashboard or usage reports; left as it is when there is one already.

    On a cluster, this checkout's `pipelines` is shipped to the workers; `fastseg` must be installed on every node,
    and input and output lie where all nodes see them. ValueError when the cluster at `address` cannot be reached,
    NoRayError when none can be started here. ahead: shards whose frames are in memory before they are labelled.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "runtime_env": environment}
    if address:
        environment["py_modules"] = [str(Path(__file__).parent)]
        options["address"] = address
    else:
        # Local workers find what this driver finds: Ray itself hands on the script's folder alone.
        environment["env_vars"]["PYTHONPATH"] = os.pathsep.join(folder for folder in sys.path if folder)
        options |= {"num_cpus": workers, "include_dashboard": False, "address": "local"}
        options |= {"object_store_memory": OBJECT_STORE + ahead * FRAMES, "_memory": available_memory()}
        options["_system_config"] = dict(NO_TASK_EVENTS)  # Ray writes into it
    _connect(options, address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(options: dict[str, Any], address: str | None) -> None:
    if address and address.startswith("ray://") and find_spec("grpc") is None:
        raise ValueError(f"{address} needs Ray's client: install ray[client], or run on a node with --address auto")
    if not address:
        _start(options)
        return
    try:
        _init(options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"no Ray cluster answers at {address}: {line}") from error


def _init(options: dict[str, Any]) -> None:
    """Connect. A process that had a Ray before may fail an assertion of Ray's own: what is left of the first clears."""
    try:
        ray.init(**options)
    except AssertionError:
        ray.shutdown()
        ray.init(**options)


def _start(options: dict[str, Any]) -> None:
    """Start a Ray here. It gives its own processes 30 s, which is little on a busy machine: five times that.

    NoRayError when it does not start.
    """
    for tries_left in (4, 3, 2, 1, 0):
        try:
            _init(options)
            return
        except Exception as error:  # Ray raises no type of its own here
            if tries_left == 0 or "timed out during startup" not in str(error):
                raise NoRayError(error) from error
            print("Ray was slow to start; trying again", file=sys.stderr)
            ray.shutdown()


def check_alive() -> None:
    """None; RayDiedError when no node is left: what waits for a worker would wait for ever."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    if not any(node["Alive"] for node in nodes):
        raise RayDiedError


def available_memory() -> int:
    """Bytes that this machine, or the control group this process lives in, can still give."""
    free = _meminfo()
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _meminfo() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


def slots(workers: int, worker_mb: int, num_gpus: float) -> int:
    """How many of `workers` Ray has CPUs, memory (`worker_mb` MiB each) and GPUs (`num_gpus` each) for; at least 1.

    ValueError when each needs a GPU and there is none.
    """
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fits = {"CPUs": int(has.get("CPU", workers)), "memory": int(has.get("memory", 0)) // (worker_mb << 20)}
    if num_gpus > 0:
        fits["GPUs"] = int(has.get("GPU", 0) / num_gpus + 1e-6)
        if fits["GPUs"] < 1:
            raise ValueError(f"each worker needs {num_gpus:g} of a GPU; Ray finds {has.get('GPU', 0):g} GPUs here")
    scarce = min(fits, key=lambda name: fits[name])
    if fits[scarce] >= workers:
        return workers
    found = max(fits[scarce], 1)
    print(f"{found} of {workers} workers: no {scarce} for more", file=sys.stderr)
    return found
