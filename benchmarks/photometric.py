"""`python -m benchmarks.photometric`, the short name of `benchmarks.bench_photometric`."""

from __future__ import annotations

from benchmarks.bench_photometric import Config, main
from benchmarks.timing import one_thread
from fastseg.cli import run

if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
