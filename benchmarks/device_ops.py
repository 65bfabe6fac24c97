"""One op, or the gating head, on a GPU: its times, `python -m benchmarks.device_ops --op normals --out DIR`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.device_race import limits
from benchmarks.record import stamp
from benchmarks.rows import Row, print_rows, write_rows
from fastseg.cli import run

Op = Literal["normals", "hn_labels", "photometric", "gated_conv", "decile_rank", "gating_head", "pssl", "structure"]
MODULES: Mapping[str, str] = {
    "normals": "device_depth", "hn_labels": "device_depth", "photometric": "device_photometric",
    "gated_conv": "device_gated_conv", "decile_rank": "device_decile_rank",
    "gating_head": "device_gating_head", "pssl": "device_pssl", "structure": "device_structure",
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Which op, and the folder that holds the rates and gets the result."""

    op: Op
    out: Path


def main(config: Config) -> int:
    """0 after printing and writing the rows; AssertionError where the GPU does not agree with the CPU or its peers."""
    rates = limits(config.out)
    module = importlib.import_module(f"benchmarks.{MODULES[config.op]}")
    rows_of: Callable[[Mapping[str, float]], list[Row]] = getattr(module, f"{config.op}_rows")
    rows = rows_of(rates)
    print_rows(rows)
    path = config.out / f"device-{config.op}-{stamp()['date'][:10]}.json"
    write_rows(config.op, rows, path, {"rates": rates})
    print(f"\n{len(rows)} rows, {len({row.case for row in rows})} cases")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
