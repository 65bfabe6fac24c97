"""PSSL labels of a whole corpus of classified pictures.

python -m pipelines.make_pssl_labels --layout imagefolder --root DIR --models FILE.json --out DIR
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fastseg.classifiers import read_classifiers
from fastseg.cli import run
from fastseg.data.places import place
from pipelines import ledger, pssl_plan
from pipelines.fan_out import fan_out
from pipelines.hn_plan import plain
from pipelines.pssl_plan import MakePSSLLabels
from pipelines.pssl_stages import in_stages
from pipelines.pssl_work import LabelPictures, opened


def main(config: MakePSSLLabels) -> int:
    """Label the pictures; the exit code of `pipelines.fan_out.fan_out`."""
    pssl_plan.check_counts(config)
    root, out, tuning = place(config.root), place(config.out), config.tuning
    models = read_classifiers(config.models)
    source = opened(config.layout, str(root))
    classes = pssl_plan.class_names(config, source)
    ids = tuple(source.ids()[: config.limit])
    workers = (os.cpu_count() or 1) if config.workers is None else config.workers
    on_gpu = config.device == "cuda"
    work = LabelPictures(
        config.layout, str(root), models, classes, config.pssl, config.device, tuning.keep_images, tuning.batch,
        tuning.gpus_per_worker if on_gpu else 0.0, tuning.readers if on_gpu else 0,
    )  # fmt: skip
    inputs = ledger.input_stamps((source.inputs(picture_id) for picture_id in ids), tuning.hash_inputs)
    plan = ledger.Plan(
        ids, inputs, pssl_plan.decides(config, models, classes), pssl_plan.code(),
        {"pssl": pssl_plan.about(config, models, classes)}, shard_size=tuning.shard_size,
    )  # fmt: skip
    resolved = replace(config, root=str(root), out=str(out), workers=workers)
    run_it = partial(
        checked, workers=workers, address=config.address, timeout_s=tuning.timeout_s, worker_mb=tuning.worker_mb,
        about={"config": plain(asdict(resolved))},
    )  # fmt: skip
    if 0 < tuning.models_at_once < len(models):
        return in_stages(work, plan, out, tuning.models_at_once, run_it, tuning.max_reject)
    return run_it(plan, work, out, max_reject=tuning.max_reject)


def checked(plan: ledger.Plan, work: LabelPictures, out: Path, *, workers: int, **options: Any) -> int:
    """As `fan_out`; ValueError when this process is to do the work and cannot. Actors are asked in their pool."""
    if workers == 0 and (problem := work.problem()):
        raise ValueError(problem)
    return fan_out(plan, work, out, workers=workers, **options)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m pipelines.make_pssl_labels`."""
    return run(MakePSSLLabels, main, argv, prog="python -m pipelines.make_pssl_labels")


if __name__ == "__main__":
    sys.exit(cli())
