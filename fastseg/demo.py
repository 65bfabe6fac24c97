"""The whole path on two CPU cores: rooms -> HN-labels -> pre-training -> few-shot segmentation -> a report page.

    python -m fastseg demo
    python -m fastseg demo --root MY_RECORDINGS --reader folder

Two networks of one kind are fine-tuned on the same few labelled images by the same schedule, one from random weights
and one from HN pre-training, each once for every seed, and scored on views of rooms that nothing was trained on.
The labelled images are procedural rooms, also with --root, unless --root is a `folder` with `labels/`, `train.txt`
and `val.txt`: then they are its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastseg.cli import run
from fastseg.demo_stages import (
    ARMS,
    Demo,
    Stages,
    checkout_folder,
    finetuning,
    make_labels,
    pretraining,
    run_all,
    write_data,
)

MARK = "demo.json"
STARTS = {"scratch": "random weights", "hn": "HN pre-training"}
Results = dict[str, list[dict[str, Any]]]


def main(config: Demo) -> int:
    """0; the report is OUT/report.html, the figures OUT/demo.json."""
    checkout = checkout_folder(config.workers)
    open_out(config)
    stage = Stages()
    with stage("recordings and labelled images"):
        root, labelled = write_data(config)
    with stage("HN-labels from depth"):
        make_labels(config, root, checkout)
    with stage("pre-training on HN-labels and, beside it, fine-tuning from random weights"):
        run_all(pretraining(config) | finetuning(config, labelled, "scratch"), checkout, config.out)
    with stage("fine-tuning from HN pre-training"):
        run_all(finetuning(config, labelled, "hn"), checkout, config.out)
    with stage("evaluation on rooms that no network has seen"):
        results = {arm: [evaluated(config.folder(arm, seed), labelled) for seed in config.all_seeds] for arm in ARMS}
    with stage("report"):
        from fastseg.demo_page import write_report

        write_report(config, labelled, results, stage.seconds, verdict(config, results))
    outcome = {"config": _plain(config), "seconds": stage.seconds, "results": results}
    (config.out / MARK).write_text(json.dumps(outcome, indent=1) + "\n")
    print(f"\n{config.out / 'report.html'} is written, after {stage.total():.0f} s.")
    print("\n".join(verdict(config, results)))
    return 0


def open_out(config: Demo) -> None:
    """None; OUT is an empty folder. ValueError when it holds anything that is not an earlier demo to overwrite."""
    if config.out.exists() and any(config.out.iterdir()):
        if not (config.out / MARK).is_file():
            raise ValueError(f"{config.out} is not empty and holds no earlier demo; give another --out")
        if not config.overwrite:
            raise ValueError(f"{config.out} holds an earlier demo; give --overwrite or another --out")
        shutil.rmtree(config.out)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / MARK).write_text(json.dumps({"config": _plain(config)}, indent=1) + "\n")


def evaluated(folder: Path, labelled: Path) -> dict[str, Any]:
    """The scores of a fine-tuned network on the validation images, as `metrics.as_json` gives them."""
    from fastseg.checkpoint import load
    from fastseg.data.folder import FolderLabels
    from fastseg.evaluate import confusion_of
    from fastseg.inference import restored
    from fastseg.metrics import as_json, scores

    found, images = load(folder), FolderLabels(labelled, "val")
    counts = confusion_of(restored(found), images, found.record.size, found.record.normalisation, 8)
    return as_json(scores(counts), images.class_names)


def verdict(config: Demo, results: Results) -> list[str]:
    """The closing lines: the two mIoUs, each with its seeds, and what they say."""
    found = {arm: [100 * result["miou"] for result in results[arm]] for arm in ARMS}
    mean = {arm: sum(values) / len(values) for arm, values in found.items()}
    lines = [f"mIoU of {config.network}, {config.tune_steps} steps on {config.labelled} labelled images, unseen rooms:"]
    for arm in ARMS:
        each = ", ".join(f"{value:.1f}" for value in found[arm])
        lines.append(f"  from {STARTS[arm]:<16} {mean[arm]:5.1f} %   (seeds: {each})")
    gains = [hn - scratch for scratch, hn in zip(*found.values(), strict=True)]
    gain, ahead = mean["hn"] - mean["scratch"], sum(each > 0 for each in gains)
    if gain <= 0:
        return [*lines, f"HN pre-training did not help here: {gain:+.1f} points."]
    return [*lines, f"HN pre-training was ahead by {gain:.1f} points, in {ahead} of {len(gains)} seeds."]


def _plain(config: Demo) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg demo ...`."""
    return run(Demo, main, argv, prog="fastseg demo")


if __name__ == "__main__":
    sys.exit(cli())
