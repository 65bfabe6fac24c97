"""Does pooling by depth help, on rooms: `python -m benchmarks.gating_rooms --config FILE.yaml --runs FOLDER`.

The variants of the paper's ablation on procedural rooms, where objects of a class stand near and far:
    baseline          one plain convolution, trained as long as the next ones
    average           five dilations, tied, all gates alike
    gt_tied, gt_untied  gates of the exact depth, in evaluation too
    attention         gates of the branch, trained without depth
    gated_predicted   gates of the branch, which learns depth beside
    loop1, loop2      recurrent passes after those, each trained from the one before
All begin from one baseline of each seed; `steps` says how many each has had in all, since the loops have had more.
Other rooms are scored: mIoU, by class, by distance (edges as fitted), and whether the paper's order holds.
A run that was stopped goes on where it was. Results: study_gating_rooms.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, stamp, write_json
from benchmarks.timing import one_thread
from fastseg.cli import run
from fastseg.data.augment import AugmentConfig
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.gating import DepthGating, GateConfig, GateWeights

# gate, stage, what it begins from; in the paper's order
VARIANTS: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "baseline": ({"source": "baseline"}, "baseline", "start"),
    "average": ({"source": "average", "tied": True}, "gating", "start"),
    "gt_tied": ({"source": "ground_truth", "tied": True}, "gating", "start"),
    "gt_untied": ({"source": "ground_truth"}, "gating", "start"),
    "attention": ({"source": "attention"}, "gating", "start"),
    "gated_predicted": ({"source": "predicted"}, "gating", "start"),
    "loop1": ({"source": "predicted"}, "loop1", "gated_predicted"),
    "loop2": ({"source": "predicted"}, "loop2", "loop1"),
}


@dataclass(frozen=True)
class Config:
    """What is trained, and on what.

    runs      the folder for runs and rooms
    out       the file for the results
    seeds     0 .. seeds - 1, of weights and order; the rooms are the same
    train     images to train on; test: of other rooms, to score
    views     images of one room
    size      HEIGHTxWIDTH
    network   encoder, from random weights
    width     channels of the head
    steps     of the baseline that all begin from, and of each stage after it
    """

    runs: Path
    out: Path = RESULTS / "study_gating_rooms.json"
    seeds: int = 3
    train: int = 320
    test: int = 160
    views: int = 4
    size: str = "96x128"
    network: str = "resnet18"
    width: int = 64
    steps: int = 500
    batch: int = 8
    lr: float = 0.02


def method(config: Config, gate: Mapping[str, Any], stage: str, out: Path, seed: int) -> DepthGating:
    """One run: the variant's gates, one stage of the recipe."""
    changed = AugmentConfig(min_scale=0.7, max_scale=1.4, rotate=5.0, divide_depth=True)
    return DepthGating(
        "folder", str(config.runs / "rooms"), out, split="train", network=config.network, seed=seed,
        gate=GateConfig(**gate, width=config.width, fit=True, backbone="batch", branch="classes"),
        weights=GateWeights(classes=0.1), stages=(stage,), size=config.size, steps=config.steps, batch=config.batch,
        augment=changed, optim=OptimConfig(lr=config.lr, schedule="poly", warmup=20, class_weights="median"),
        loop=LoopConfig(device="cpu", workers=0, threads=1, save_every=100, log_every=25), resume=True,
    )  # fmt: skip


def rooms(config: Config) -> Path:
    """The folder of rooms, written once: those to train on and others to score, listed in train.txt and test.txt."""
    from fastseg.data.rooms import Rooms, write_rooms
    from fastseg.methods import parse_size

    root, (height, width) = config.runs / "rooms", parse_size(config.size)
    if not (root / "test.txt").exists():
        ids = write_rooms(root, Rooms(7, config.train + config.test, height, width, noise=False, views=config.views))
        (root / "train.txt").write_text("\n".join(ids[: config.train]) + "\n")
        (root / "test.txt").write_text("\n".join(ids[config.train :]) + "\n")
    return root


def trained(config: Config, name: str, seed: int) -> Path:
    """The folder of a variant's run, and of all that it begins from."""
    from fastseg.train import main as train

    gate, stage, before = ({"source": "baseline"}, "baseline", "") if name == "start" else VARIANTS[name]
    out = config.runs / f"seed-{seed}" / name
    begun = str(trained(config, before, seed)) if before else ""
    if train(replace(method(config, gate, stage, out, seed), init_from=begun)):
        raise RuntimeError(f"{out}: training ended early; the same command goes on")
    return out


def steps_of(config: Config, name: str) -> int:
    """Steps that the variant's weights have had in all."""
    return config.steps * (1 if name == "start" else 1 + steps_of(config, VARIANTS[name][2]) // config.steps)


def scored(config: Config, folder: Path) -> dict[str, Any]:
    """The last pass's scores on the other rooms."""
    from fastseg.gates import Gates
    from fastseg.gates import main as look

    if not (folder / "gates/gates.json").exists():
        look(Gates(folder, "folder", str(config.runs / "rooms"), folder / "gates", "test", threads=1))
    found: dict[str, Any] = json.loads((folder / "gates/gates.json").read_text())
    return {"edges": found["edges"], "passes": [each["miou"] for each in found["passes"]], **found["passes"][-1]}


def summary(results: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and deviation over seeds, gains over the baseline by distance, and the paper's order."""
    miou = {name: [each["miou"] for each in found] for name, found in results.items() if found}
    mean = {name: float(np.mean(values)) for name, values in miou.items()}
    deviation = {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in miou.items()}
    holds = {f"{a} < {b}": mean[a] < mean[b] for a, b in pairwise(name for name in VARIANTS if results[name])}
    gains = {name: _gains(found, results["baseline"]) for name, found in results.items() if found}
    return {
        "miou": mean, "deviation": deviation, "order": holds, "order_holds": all(holds.values()),
        "gain_by_distance": gains,
    }  # fmt: skip


def _gains(found: list[dict[str, Any]], base: list[dict[str, Any]]) -> list[float | None]:
    """mIoU minus the baseline's in each depth bin, nearest first, mean over seeds; None where nothing was so far."""
    ours, theirs = (list(zip(*(run["distances"] for run in runs), strict=True)) for runs in (found, base[: len(found)]))
    return [
        None if None in (*a, *b) else float(np.mean([x["miou"] - y["miou"] for x, y in zip(a, b, strict=True)]))
        for a, b in zip(ours, theirs, strict=True)
    ]


def main(config: Config) -> int:
    """0 after training and scoring every variant of every seed; the results are written after each."""
    rooms(config)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in range(config.seeds):
        for name in VARIANTS:
            results[name].append(scored(config, trained(config, name, seed)))
            print(f"seed {seed}, {name}: mIoU {results[name][-1]['miou']:.4f}", flush=True)
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in vars(config).items()}
        del plain["runs"], plain["out"]
        steps = {name: steps_of(config, name) for name in VARIANTS}
        write_json(config.out, {"name": "study_gating_rooms", **stamp(), "config": plain, "steps": steps,
                                "summary": summary(results), "results": results})  # fmt: skip
    for name, value in summary(results)["miou"].items():
        print(f"{name:18} {100 * value:6.2f} %")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
