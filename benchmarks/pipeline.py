"""`python -m benchmarks.pipeline`, the short name of `benchmarks.bench_pipeline`."""

from __future__ import annotations

from benchmarks.bench_pipeline import Config, main
from benchmarks.threads import one_thread
from fastseg.cli import run

if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
