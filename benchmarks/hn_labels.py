"""`python -m benchmarks.hn_labels`, the short name of `benchmarks.bench_hn_labels`."""

from __future__ import annotations

from benchmarks.bench_hn_labels import Config, main
from benchmarks.timing import one_thread
from fastseg.cli import run

if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
