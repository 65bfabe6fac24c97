"""Run a study: `python -m fastseg.compare STUDY.yaml --out DIR`.

A study compares variants (where a network begins, how that is transferred, any settings) on numbers of labelled images
and seeds. One command labels, pre-trains, searches learning rates, trains every cell and reports; the same command
goes on where it was stopped. benchmarks/studies holds examples, fastseg.compare_study says what stands in them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastseg.cli import run


@dataclass(frozen=True)
class Compare:
    """Compare ways to begin and to transfer: a table, curves, a page, study.json.

    study     the YAML file of the study
    out       the folder for everything it makes; a study stopped there goes on
    jobs      trainings at a time
    threads   of each of them
    only      all; search: stop after the learning-rate searches; report: run nothing, report what is done
    """

    study: Path
    out: Path
    jobs: int = 1
    threads: int = 1
    only: Literal["all", "search", "report"] = "all"

    def __post_init__(self) -> None:
        for name in ("jobs", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1; got {getattr(self, name)}")


def main(config: Compare) -> int:
    """0 after the report; 128 + signal when stopped, with every training saved."""
    from fastseg.compare_check import check_networks, checked
    from fastseg.compare_run import run_plan
    from fastseg.compare_study import read_study

    study = read_study(config.study)
    plan = checked(study, config.out)
    if config.only != "report":
        check_networks(study, config.out)
        code = run_plan(plan, config.jobs, config.threads, config.only == "search")
        if code:
            return code
    from fastseg.compare_report import report, say_searches

    say_searches(plan)
    if config.only != "search":
        report(plan)
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg compare STUDY.yaml --out DIR`."""
    return run(Compare, main, argv, positional=("study",), prog="fastseg compare")


if __name__ == "__main__":
    sys.exit(cli())
