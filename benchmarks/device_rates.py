"""The limits of a GPU, measured: `python -m benchmarks.device_rates --out DIR` writes DIR/device-rates-<date>.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.device_race import event_ms
from benchmarks.record import stamp, write_json
from fastseg.cli import run

SIDE = 8192


@dataclass(frozen=True)
class Config:
    """Where the rates go."""

    out: Path
    repeats: int = 15


def median_ms(call: object, repeats: int) -> float:
    """Median milliseconds after three calls."""
    assert callable(call)
    return float(np.median([event_ms(call, number) for number in range(repeats + 3)][3:]))


def copy_gb_s(repeats: int) -> float:
    """Bytes read and written a second by a device-to-device copy of 2 GiB, in GB/s."""
    import torch

    source = torch.empty(1 << 29, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_ms(lambda _: target.copy_(source), repeats) / 1e6


def matmul_tflop_s(dtype: str, tf32: bool, repeats: int) -> float:
    """The rate of a product of two SIDE x SIDE matrices of random numbers."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.randn(SIDE, SIDE, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * SIDE**3 / median_ms(lambda _: torch.mm(a, b, out=out), repeats) / 1e9


def main(config: Config) -> int:
    """0 after measuring."""
    rates = {
        "copy_gb_s": copy_gb_s(config.repeats),
        "bf16_tflop_s": matmul_tflop_s("bfloat16", False, config.repeats),
        "fp16_tflop_s": matmul_tflop_s("float16", False, config.repeats),
        "tf32_tflop_s": matmul_tflop_s("float32", True, config.repeats),
        "fp32_tflop_s": matmul_tflop_s("float32", False, 5),
    }
    at = stamp()
    write_json(config.out / f"device-rates-{at['date'][:10]}.json", {"op": "rates", **at, "rates": rates})
    print(", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
