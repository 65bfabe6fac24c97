"""Times of `gated_conv` beside its peers: `python -m benchmarks.bench_gated_conv --json F.json --plot F.png`.

512 -> 512 channels, 3x3, dilations 1 to 16, 90x90, one image, on 1 and 2 threads: soft and hard gates, forward and with
all gradients, and the two poolings. The peers compute every branch by torch's operators, then the gated sum; a hard
gate saves them nothing. First asserts agreement with fastseg/reference at a small size, where the reference is timed.
`--only` runs some of the cases, and the same `--json` gathers them: what it holds of other cases of this commit and
processor stays. The file is written after each case. All cases take twenty minutes; of these each takes under nine:
`--only '^(hard|soft)( tied)?$'`, `--only 'hard f'`, `--only 'soft f'`, `--only pool`.
error   the largest difference from eager over the largest value
extra   `gflop`, `gflop_s` (arithmetic that the call needs, counting no tap outside the image); `floor_ms`, the larger
        of that over the rate of the library's GEMM and of the bytes in and out over the copy bandwidth, both measured
        here; `bytes_bound` 1 when the bytes are the larger; `peak_mb`, what one call adds to a fresh process at most,
        its output included (on training cases with all that the backward needs)
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.peers_gated_conv import DILATIONS, conv_peers, conv_training, pool_peers
from benchmarks.timing import OURS, Row, earlier_rows, keep_rows, on_threads, one_thread, print_rows, race
from fastseg.cli import run

Call = Callable[[], Any]
TOLERANCE = 1e-4  # float32 sums of 4,608 products in another order, relative to the largest value
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Config:
    """What to measure."""

    channels: int = 512
    side: int = 90
    only: str = ""  # a regular expression: the cases to run, such as `hard$` or `pool`
    repeats: int = 7  # timed calls of each contestant
    budget_s: float = 12.0  # a contestant that has used this much sits out after three calls
    peers: bool = True
    memory: bool = True  # measure peak_mb, each contestant in a process of its own
    json: Path | None = None
    plot: Path | None = None


@dataclass(frozen=True)
class Data:
    """One call's arguments, the same for every contestant and run."""

    x: Any
    weight: Any
    soft: Any  # (1, 5, H, W) gates that sum to one
    chosen: Any  # (1, H, W) uint8: five equal bands of a smooth depth map
    one_hot: Any  # the same as gates, for the peers
    dy: Any


def data(channels: int, side: int) -> Data:
    """Random maps and a smooth depth map cut into five bands of equal area."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    made = torch.Generator().manual_seed(20)
    x, dy = (torch.randn(1, channels, side, side, generator=made) for _ in range(2))
    weight = torch.randn(5, channels, channels, 3, 3, generator=made) / (3 * channels**0.5)
    soft = torch.randn(1, 5, side, side, generator=made).softmax(1)
    depth = F.interpolate(torch.rand(1, 1, 8, 8, generator=made), (side, side), mode="bicubic")[:, 0]
    chosen = torch.bucketize(depth, torch.quantile(depth, torch.tensor([0.2, 0.4, 0.6, 0.8]))).to(torch.uint8)
    one_hot = F.one_hot(chosen.long(), 5).permute(0, 3, 1, 2).float().contiguous()
    return Data(x, weight, soft, chosen, one_hot, dy)


def forward(d: Data, hard: bool, tied: bool = False) -> dict[str, Call]:
    """Ours in both memory formats, and the peers."""
    import torch

    from fastseg.ops.gated_conv import gated_dilated_conv2d

    gate, weight = (d.chosen if hard else d.soft), (d.weight[0].contiguous() if tied else d.weight)
    rows = d.x.contiguous(memory_format=torch.channels_last)
    dense = d.weight[:1].expand(5, -1, -1, -1, -1) if tied else d.weight
    return {
        OURS: lambda: gated_dilated_conv2d(d.x, weight, gate, DILATIONS, hard=hard),
        "fastseg_channels_last": lambda: gated_dilated_conv2d(rows, weight, gate, DILATIONS, hard=hard),
        **conv_peers(d.x, dense, d.one_hot if hard else d.soft),
    }


def training(d: Data, hard: bool) -> dict[str, Call]:
    """Forward and all gradients; a hard gate has none."""
    import torch

    from fastseg.ops.gated_conv import gated_dilated_conv2d

    x, weight = d.x.clone().requires_grad_(), d.weight.clone().requires_grad_()
    soft = d.soft.clone().requires_grad_()
    leaves = (x, weight) if hard else (x, weight, soft)

    def step() -> Any:
        y = gated_dilated_conv2d(x, weight, d.chosen if hard else soft, DILATIONS, hard=hard)
        return torch.autograd.grad(y, leaves, d.dy)

    return {OURS: step, **conv_training(x, weight, d.one_hot if hard else soft, d.dy)}


def pooling(d: Data, kind: Any) -> dict[str, Call]:
    """Ours and the peers."""
    from fastseg.ops.gated_conv import gated_dilated_pool2d

    return {
        OURS: lambda: gated_dilated_pool2d(d.x, d.soft, DILATIONS, kind),
        **pool_peers(d.x, d.soft, kind),
    }


CASES: Mapping[str, Callable[[Data], dict[str, Call]]] = {
    "hard": lambda d: forward(d, True),
    "hard tied": lambda d: forward(d, True, tied=True),
    "soft": lambda d: forward(d, False),
    "hard forward+backward": lambda d: training(d, True),
    "soft forward+backward": lambda d: training(d, False),
    "pool avg": lambda d: pooling(d, "avg"),
    "pool max": lambda d: pooling(d, "max"),
}


def needs(case: str, d: Data) -> tuple[float, float]:
    """(FLOPs, bytes) that the case itself needs, whoever does it: taps inside the image, each array moved once."""
    channels, side = d.x.shape[1], d.x.shape[2]
    inside = [(1 + 2 * max(0, side - dilation) / side) ** 2 for dilation in DILATIONS]  # taps a pixel, on average
    maps = d.x.nbytes + d.dy.nbytes
    if case.startswith("pool"):
        return 2.0 * sum(inside) * channels * side * side, maps + d.soft.nbytes
    branches = sum(inside) / (len(inside) if case.startswith("hard") else 1)
    flops, moved = 2.0 * branches * channels**2 * side * side, maps + d.weight.nbytes / (5 if "tied" in case else 1)
    return (3 * flops, 3 * moved) if "backward" in case else (flops, moved)


def rates(threads: int) -> tuple[float, float]:
    """(FLOP/s of the library's float32 GEMM, bytes/s of a copy) on this many threads, the best of some tries."""
    import torch

    a, b, big = torch.randn(1024, 2304), torch.randn(2304, 512), torch.randn(16 << 20)
    other, best = torch.empty_like(big), [0.0, 0.0]
    with on_threads(threads):
        for _ in range(7):
            start = perf_counter()
            a @ b
            middle = perf_counter()
            other.copy_(big)
            best[0] = max(best[0], 2.0 * a.numel() * b.shape[1] / (middle - start))
            best[1] = max(best[1], 2.0 * big.nbytes / (perf_counter() - middle))
    return best[0], best[1]


def memory(pid: str, name: str) -> int:
    """A line of a process's status in bytes, as Linux counts them."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(match[1]) if match else 0


def peak_here(case: str, name: str, channels: int, side: int) -> float:
    """Megabytes that one call adds to this process at most; a call on a small image loads the libraries before."""
    with on_threads(1):
        CASES[case](data(32, 20))[name]()
        call = CASES[case](data(channels, side))[name]
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
        before = memory("self", "VmRSS")
        kept = call()
        assert kept is not None
        return (memory("self", "VmHWM") - before) / 1e6


def peaks(case: str, names: list[str], config: Config) -> dict[str, dict[str, float]]:
    """`peak_mb` of each contestant, every one in a fresh process."""
    found = {}
    for name in names:
        code = f"from benchmarks.bench_gated_conv import peak_here\nprint('MB', peak_here({case!r}, {name!r}, "
        code += f"{config.channels}, {config.side}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
        found[name] = {"peak_mb": round(float(done.stdout.rpartition("MB")[2]), 1)}
    return found


def difference(found: Any, wanted: Any) -> float:
    """The largest difference over the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def check() -> list[Row]:
    """Rows of the reference's times at a small size; AssertionError where ours does not agree with it."""
    from fastseg.ops.gated_conv import gated_dilated_conv2d, gated_dilated_pool2d
    from fastseg.reference import gated_conv as reference

    d = data(48, 33)
    x, weight, soft, chosen = (array.numpy() for array in (d.x, d.weight, d.soft, d.chosen))
    wide, gates = (x.astype(np.float64), weight.astype(np.float64)), soft.astype(np.float64)
    pairs: dict[str, tuple[Call, Call]] = {
        "hard": (
            lambda: gated_dilated_conv2d(x, weight, chosen, DILATIONS, hard=True),
            lambda: reference.gated_dilated_conv2d(*wide, chosen, DILATIONS, hard=True),
        ),
        "soft": (
            lambda: gated_dilated_conv2d(x, weight, soft, DILATIONS),
            lambda: reference.gated_dilated_conv2d(*wide, gates, DILATIONS),
        ),
        "pool avg": (
            lambda: gated_dilated_pool2d(x, soft, DILATIONS),
            lambda: reference.gated_dilated_pool2d(wide[0], gates, DILATIONS),
        ),
    }
    rows = []
    for case, (ours, slow) in pairs.items():
        error = float(np.abs(ours() - slow()).max() / np.abs(slow()).max())
        assert error <= TOLERANCE, f"{case}: ours and the reference differ by {error:.2g} of the largest value"
        rows += race(f"48x33x33 {case}", {OURS: ours, "reference": slow}, repeats=3, errors={OURS: error})
    return rows


def measured(case: str, config: Config, d: Data) -> list[Row]:
    """The rows of one case on 1 and 2 threads; AssertionError where ours and eager differ."""
    made = CASES[case](d)
    contestants = {name: call for name, call in made.items() if config.peers or name.startswith(OURS)}
    first, eager = made[OURS](), made["eager"]()
    pairs = zip(first[:1], eager[:1], strict=True) if isinstance(first, tuple) else [(first, eager)]
    error = max(difference(own, peer) for own, peer in pairs)
    assert error <= TOLERANCE, f"{case}: ours and eager differ by {error:.2g} of the largest value"
    extra = peaks(case, list(contestants), config) if config.memory else {}
    flops, moved = needs(case, d)
    rows = []
    for threads in (1, 2):
        speed, bandwidth = rates(threads)
        found = race(
            f"{config.channels}x{config.side}x{config.side} {case}", contestants, threads=threads,
            repeats=config.repeats, budget_s=config.budget_s, errors={OURS: error}, extra=extra,
        )  # fmt: skip
        floor = {"gflop": flops / 1e9, "floor_ms": 1e3 * max(flops / speed, moved / bandwidth)}
        floor["bytes_bound"] = float(moved / bandwidth > flops / speed)
        for row in found:
            ours = {**floor, "gflop_s": flops / row.ms_median / 1e6} if row.impl.startswith(OURS) else {}
            rows.append(replace(row, extra={**row.extra, **ours}))
    print_rows(rows)
    return rows


def main(config: Config) -> int:
    """0 after printing every case; AssertionError when ours disagrees with the reference or with eager."""
    rows = check()
    print_rows(rows)
    d = data(config.channels, config.side)
    for case in CASES:
        if re.search(config.only, case):
            rows += measured(case, config, d)
            done = [row.case for row in rows]
            keep_rows("gated_conv", [*rows, *earlier_rows(config.json, done)], config.json, config.plot)
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
