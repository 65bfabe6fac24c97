"""`python -m benchmarks.loader`, the short name of `benchmarks.bench_loader`."""

from __future__ import annotations

from benchmarks.bench_loader import Config, main
from benchmarks.timing import one_thread
from fastseg.cli import run

if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
