"""`python -m benchmarks.gated_conv`, the short name of `benchmarks.bench_gated_conv`."""

from __future__ import annotations

from benchmarks.bench_gated_conv import Config, main
from benchmarks.timing import one_thread
from fastseg.cli import run

if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
