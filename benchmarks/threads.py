"""How many threads a contestant may use: `on_threads(n)` for every pool in the process, `one_thread()` at its start."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
# A pool that spins after its work would sit on the core of the next contestant, whose pool is another one.
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
# What a call frees is kept for the next one. Left to itself, glibc gives it back to the system, or not, by what ran
# before, and the fresh pages of a frame's output cost as much time as the op that fills them.
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(64 << 30), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
POOLS = re.compile(r"lib(gomp|iomp5|omp|\w*openblas\w*|mkl_rt)[-.\w]*\.so[.\d]*$")
SETTERS = (
    "omp_set_num_threads", "openblas_set_num_threads", "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads", "scipy_openblas_set_num_threads64_", "MKL_Set_Num_Threads",
)  # fmt: skip


def one_thread() -> None:
    """Starts the program again under these settings unless they hold: thread pools and malloc read them when they load.

    Called first thing under `if __name__ == "__main__"`; `on_threads` raises the number where more is measured.
    """
    wanted = {**ONE_THREAD, **QUIET, **KEPT}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})


def loaded_pools() -> list[str]:
    """The shared libraries of this process that keep a pool of threads and can be told its size."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return sorted({line.split()[-1] for line in lines if POOLS.search(line.split()[-1])})


def _set_pools(count: int) -> None:
    """Tells every loaded pool its size, by its library's own switch."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    for path in loaded_pools():
        library = ctypes.CDLL(path)
        for name in SETTERS:
            if hasattr(library, name):
                getattr(library, name)(ctypes.c_int(count))


def _pin(cpus: list[int]) -> None:
    """Puts the caller on the first of `cpus`, Python's other threads on one each in turn, pools' threads on the rest.

    Left to themselves, threads that wake each other at a barrier are drawn onto one processor (Linux's affine wake-up)
    and two take the time of one.
    """
    own = threading.get_native_id()
    pythons = sorted(thread.native_id or 0 for thread in threading.enumerate() if thread.native_id != own)
    places = {task: {cpus[i % len(cpus)]} for i, task in enumerate(pythons)} | {own: {cpus[0]}}
    for task in (int(path.name) for path in Path("/proc/self/task").glob("*")):
        with suppress(OSError):  # a thread that ended meanwhile
            os.sched_setaffinity(task, places.get(task, set(cpus[1:] or cpus)))


def _free(cpus: list[int]) -> None:
    """Lets every thread of this process run on all of `cpus` again."""
    for path in Path("/proc/self/task").glob("*"):
        with suppress(OSError):
            os.sched_setaffinity(int(path.name), cpus)


@contextmanager
def on_threads(count: int) -> Iterator[Callable[[], None]]:
    """Within the block every pool of the process has `count` threads, and the process `count` processors.

    Yields a call that places the threads again: those started meanwhile stand on the caller's processor until then.

    torch, OpenCV, OpenMP, OpenBLAS and MKL are told; a pool that cannot be (Open3D's TBB) is held by the processors, of
    which the process gets `count` of those it may use. A contestant with Python threads of its own starts them before
    the first timed call and keeps them. Afterwards all are as at the start, pools at torch's count.
    Ours takes its count from torch.get_num_threads() for tensors and from its `threads` argument for numpy arrays.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= count <= len(allowed):
        raise ValueError(f"threads must lie between 1 and the {len(allowed)} processors of this process; got {count}")
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    first = os.getpid() % len(allowed)
    _set_pools(count)
    mine = [allowed[(first + i) % len(allowed)] for i in range(count)]
    _pin(mine)
    try:
        yield lambda: _pin(mine)
    finally:
        _free(allowed)
        _set_pools(before)
