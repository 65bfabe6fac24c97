"""HN-labels of a whole corpus: `python -m pipelines.make_hn_labels --reader 7scenes --root DIR --out DIR`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

from fastseg.cli import run
from fastseg.data.layouts import check_reader
from fastseg.data.places import place
from fastseg.labels.hn import check
from pipelines import hn_plan, ledger
from pipelines.fan_out import fan_out
from pipelines.hn_plan import MakeHNLabels
from pipelines.hn_work import LabelFrame, SourceAt, opened
from pipelines.one_shard import AnyWork


def main(config: MakeHNLabels) -> int:
    """Label the data set; the exit code of `pipelines.fan_out.fan_out`."""
    hn_plan.check_counts(config)
    check(config.hn)
    at, out, tuning = source_at(config), place(config.out), config.tuning
    source = opened(at)
    ids = hn_plan.chosen(config, source)
    hn = hn_plan.with_edges(config, out, source, ids)
    workers = (os.cpu_count() or 1) if config.workers is None else config.workers
    work = work_of(replace(config, hn=hn, workers=workers), at)
    inputs = ledger.input_stamps((source.inputs(frame_id) for frame_id in ids), tuning.hash_inputs)
    plan = ledger.Plan(
        ids, inputs, hn_plan.decides(config, hn, at.root), hn_plan.code(), {"hn": hn_plan.bins(hn)},
        shard_size=tuning.shard_size,
    )  # fmt: skip
    resolved = replace(config, root=str(at.root), out=str(out), hn=hn, workers=workers)
    run_it = fan_out if config.consensus == "none" else by_consensus(config, work)
    return run_it(
        plan, work, out, workers=workers, address=config.address, timeout_s=tuning.timeout_s, frame_mb=tuning.frame_mb,
        worker_mb=tuning.worker_mb, max_reject=tuning.max_reject, about={"config": hn_plan.plain(asdict(resolved))},
    )  # fmt: skip


def by_consensus(config: MakeHNLabels, work: AnyWork) -> Callable[..., int]:
    """What runs a plan in place of `fan_out` when frames vote on up and floor; ValueError on a GPU."""
    from pipelines.hn_consensus import label_by_consensus

    if not isinstance(work, LabelFrame):
        raise ValueError(f"--consensus {config.consensus} labels on the processor; leave --device {config.device} out")
    return partial(label_by_consensus, config.consensus, config.tuning.consensus_window)


def source_at(config: MakeHNLabels) -> SourceAt:
    """Where the frames are; ValueError for a reader that does not exist."""
    check_reader(config.reader)
    return SourceAt(
        reader=config.reader,  # type: ignore[arg-type]
        root=place(config.root),
        depth_scale=config.depth_scale,
        intrinsics=None if config.intrinsics is None else place(config.intrinsics),
        camera=config.camera,
        split=config.split,
        max_depth_m=config.tuning.max_depth_m,
    )


def work_of(config: MakeHNLabels, at: SourceAt) -> AnyWork:
    """What workers do with the frames; ValueError says why there can be no GPU worker here.

    On a cluster the workers' machines are asked, not this one.
    """
    if config.device == "cpu":
        return LabelFrame(at, config.hn)
    from pipelines.hn_gpu import gpu_work

    work = gpu_work(at, config.hn, config.tuning.batch, config.tuning.gpus_per_worker)
    problem = work.problem() if config.address is None else None
    if problem:
        raise ValueError(problem)
    return work


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m pipelines.make_hn_labels`."""
    return run(MakeHNLabels, main, argv, prog="python -m pipelines.make_hn_labels")


if __name__ == "__main__":
    sys.exit(cli())
