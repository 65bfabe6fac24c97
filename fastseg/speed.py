"""How fast a run goes: images a second, the share of time spent waiting for data, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class Meter:
    """Counts since it was last read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start()

    def _start(self) -> None:
        self._waited, self._images, self._since = 0.0, 0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A context whose time is time without data."""
        asked = time.perf_counter()
        yield
        self._waited += time.perf_counter() - asked

    def seen(self, images: int) -> None:
        """None; so many images went through the network."""
        self._images += images

    def read(self) -> dict[str, float]:
        """images_per_s, data_wait (of the time, 0 to 1) and peak_memory_mb; the counting begins anew."""
        passed = time.perf_counter() - self._since
        figures = {
            "images_per_s": round(self._images / passed, 2),
            "data_wait": round(self._waited / passed, 4),
            "peak_memory_mb": round(peak_memory_mb(self._device), 1),
        }
        self._start()
        return figures


def peak_memory_mb(device: torch.device) -> float:
    """The most that this process ever held, in 10^6 bytes: what torch allocated on a GPU, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would tell the parent's, if that had more
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024 / 1e6
