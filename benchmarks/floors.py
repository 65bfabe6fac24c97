"""How far each op is from the limit of the machine: `python -m benchmarks.floors --json F.json`, and `floor(op, case)`.

A floor counts what the task itself needs, whoever does it: every input byte read once, every output byte written once,
and the arithmetic of the cheapest way known (running sums for windows; divisions and roots count as one). It is the
larger of bytes over the measured copy bandwidth and FLOPs over the measured rate of a float32 matrix product, on the
same number of threads; the larger one names what bounds the op. No program reaches it: a single add fills half a fused
multiply-add, a division takes the time of ten, and scratch that fits no register is moved as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import on_threads, one_thread, write_json
from fastseg.cli import run

SIZE = r"(?:(?P<n>\d+)x)?(?P<h>\d+)x(?P<w>\d+)"
PLANE_FLOPS = 10 * 4 + 9 + 61  # ten running sums of four adds, nine products, the solution and the unit normal
CROSS_FLOPS = 2 + 6 + 9 + 8  # the point, two differences, their product, its length
MOMENT_FLOPS = 9 + 10  # a neighbour's test and its ten sums: gated by the pixel's own depth, so no running sums


@dataclass(frozen=True)
class Config:
    """What to measure."""

    repeats: int = 9
    json: Path | None = None


@dataclass(frozen=True)
class Work:
    """What one call must do at least: bytes moved to or from memory, floating-point operations."""

    bytes: float
    flops: float


@dataclass(frozen=True)
class Floor:
    """The least milliseconds a call can take on a machine, and what bounds it: `bytes` or `FLOPs`."""

    ms: float
    bound: str


def _pixels(match: re.Match[str]) -> int:
    return int(match["n"] or 1) * int(match["h"]) * int(match["w"])


def normals_work(case: str) -> Work | None:
    """float32 depth in; points and normals, float32, out."""
    match = re.fullmatch(SIZE + r" (?P<how>cross|plane|pca) r(?P<r>\d+)( \+ points)?", case)
    if match is None:
        return None
    window = (2 * int(match["r"]) + 1) ** 2
    flops = {"cross": CROSS_FLOPS, "plane": PLANE_FLOPS, "pca": window * MOMENT_FLOPS + 60}[match["how"]]
    return Work((4 + 12 + 12) * _pixels(match), flops * _pixels(match))


def hn_labels_work(case: str) -> Work | None:
    """uint16 depth in, a byte out; two window fits (gravity's solved at one pixel in 16), heights, bins."""
    match = re.fullmatch(SIZE + r" label(?P<more> \+ points \+ normals)?", case)
    if match is None:
        return None
    fits = PLANE_FLOPS + (10 * 4 + 9) + 61 / 16
    return Work((3 + (24 if match["more"] else 0)) * _pixels(match), (fits + 20) * _pixels(match))


def decile_rank_work(case: str) -> Work | None:
    """float32 scores in twice (no border is known before all are read), a byte out; nine comparisons a score."""
    single = re.fullmatch(SIZE + r"( ties)?", case)
    if single is not None:
        return Work((2 * 4 + 1) * _pixels(single), 9 * _pixels(single))
    ensemble = re.fullmatch(r"ensemble of (?P<m>\d+), " + SIZE, case)
    if ensemble is None:
        return None
    models = int(ensemble["m"])
    return Work((2 * 4 * models + 4 + 1) * _pixels(ensemble), (4 * models + 9) * _pixels(ensemble))


WORK: dict[str, Callable[[str], Work | None]] = {
    "normals": normals_work,
    "hn_labels": hn_labels_work,
    "decile_rank": decile_rank_work,
}


def floor(op: str, case: str, rates: Mapping[str, float]) -> Floor | None:
    """The floor of a case at `rates` {copy_gb_s, matmul_gflop_s}; None for a case whose work is not counted."""
    work = WORK[op](case) if op in WORK else None
    if work is None:
        return None
    moved, computed = work.bytes / rates["copy_gb_s"] / 1e6, work.flops / rates["matmul_gflop_s"] / 1e6
    return Floor(max(moved, computed), "bytes" if moved >= computed else "FLOPs")


def _best(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of so many calls after one more."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(threads: int, repeats: int = 9) -> dict[str, float]:
    """This machine's rates: bytes read and written a second by a copy of 256 MiB, and float32 products of 2048^3."""
    import torch

    source, side = torch.ones(1 << 26), 2048
    target, a = torch.empty_like(source), torch.rand(side, side)
    out = torch.empty_like(a)
    with on_threads(threads):
        torch.mm(a, a, out=out)
    with on_threads(threads):
        copied = _best(lambda: target.copy_(source), repeats)
        multiplied = _best(lambda: torch.mm(a, a, out=out), repeats)
    return {"copy_gb_s": 2 * source.nbytes / copied / 1e9, "matmul_gflop_s": 2 * side**3 / multiplied / 1e9}


def main(config: Config) -> int:
    """0 after measuring the rates on one thread and on two."""
    from benchmarks.record import stamp

    rates: dict[str, Any] = {str(n): measured(n, config.repeats) for n in (1, 2)}
    for threads, found in rates.items():
        print(f"{threads} thread(s): copy {found['copy_gb_s']:.1f} GB/s, product {found['matmul_gflop_s']:.0f} GFLOP/s")
    if config.json is not None:
        print(f"written to {write_json(config.json, {'op': 'floors', **stamp(), 'rates': rates})}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
