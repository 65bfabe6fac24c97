"""Does pooling by depth help, on rooms: `python -m benchmarks.gating_rooms --config FILE.yaml --runs FOLDER`.

The variants of the paper's ablation on procedural rooms, where objects of a class stand near and far:
    baseline          one plain convolution, trained as long as the next ones
    average           every dilation, tied, all gates alike
    gt_tied, gt_untied  gates of the exact depth, in evaluation too
    attention         gates of the branch, trained without depth
    gated_predicted   gates of the branch, which learns depth beside
    loop1, loop2      recurrent passes after those, each trained from the one before
All begin from one baseline of each seed, that of `begin` steps; `steps` in the results says how many each has had in
all, since the loops have had more.
Other rooms are scored: mIoU, by class, by distance (edges as fitted), and whether the paper's order holds.
A run that was stopped goes on where it was. Results: study_gating_rooms.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.record import RESULTS, stamp, write_json
from benchmarks.timing import one_thread
from fastseg.cli import run
from fastseg.data.augment import AugmentConfig
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.gating import DepthGating, GateConfig, GateWeights

WIDTH = 64  # channels of the head
OPTIM = OptimConfig(
    lr=1e-3, optimizer="adamw", weight_decay=0.01, schedule="cosine", warmup=20, class_weights="median"
)  # fmt: skip
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
START: tuple[dict[str, Any], str, str] = ({"source": "baseline"}, "baseline", "")


@dataclass(frozen=True)
class Config:
    """What is trained, and on what.

    runs       the folder for runs and rooms
    out        the file for the results
    seeds      0 .. seeds - 1, of weights and order; the rooms are the same
    rooms      the seed of the rooms
    train      images to train on; test: of other rooms, to score; four of each room
    size       HEIGHTxWIDTH
    network    encoder
    init_from  its trained weights, whose batch statistics stay; empty = random ones, whose statistics learn
    dilations  of the nearest depth bin to the farthest: the paper's 16 is a fifth of its features' width
    begin      steps of the baseline that all begin from
    steps      of each stage after it
    """

    runs: Path
    out: Path = RESULTS / "study_gating_rooms.json"
    seeds: int = 3
    rooms: int = 7
    train: int = 800
    test: int = 160
    size: str = "64x96"
    network: str = "resnet10t"
    init_from: str = ""
    dilations: tuple[int, ...] = (4, 3, 2, 1)
    begin: int = 400
    steps: int = 300
    batch: int = 8
    optim: OptimConfig = OPTIM
    precision: Literal["float32", "bf16"] = "bf16"


def method(config: Config, name: str, seed: int) -> DepthGating:
    """One run: the variant's gates, one stage of the recipe, from the run before it."""
    gate, stage, before = VARIANTS.get(name, START)
    folder = config.runs / f"seed-{seed}"
    changed = AugmentConfig(min_scale=0.7, max_scale=1.4, rotate=5.0, divide_depth=True)
    statistics: Literal["frozen", "batch"] = "frozen" if config.init_from else "batch"
    return DepthGating(
        "folder", str(images_of(config.runs)), folder / name, network=config.network, stages=(stage,), seed=seed,
        gate=GateConfig(**gate, width=WIDTH, dilations=config.dilations, fit=True, backbone=statistics),
        init_from=str(folder / before) if before else config.init_from, weights=GateWeights(classes=0.1),
        size=config.size, steps=config.steps if before else config.begin, batch=config.batch, augment=changed,
        optim=config.optim, resume=True,
        loop=LoopConfig(precision=config.precision, device="cpu", workers=0, threads=1, save_every=100, log_every=25),
    )  # fmt: skip


def images_of(runs: Path) -> Path:
    """The folder of the images that the runs of a study are trained on and scored by."""
    return runs / "rooms"


def rooms(config: Config) -> Path:
    """The folder of rooms, written once: those to train on and others to score, listed in train.txt and test.txt."""
    from fastseg.data.rooms import Rooms, write_rooms
    from fastseg.methods import parse_size

    root, (height, width) = images_of(config.runs), parse_size(config.size)
    if not (root / "test.txt").exists():
        ids = write_rooms(root, Rooms(config.rooms, config.train + config.test, height, width, noise=False))
        (root / "train.txt").write_text("\n".join(ids[: config.train]) + "\n")
        (root / "test.txt").write_text("\n".join(ids[config.train :]) + "\n")
    return root


def trained(config: Config, name: str, seed: int) -> Path:
    """The folder of a variant's run, trained where it was not, and all that it begins from."""
    from fastseg.train import main as train

    if before := VARIANTS.get(name, START)[2]:
        trained(config, before, seed)
    stage = method(config, name, seed)
    if not (stage.out / f"checkpoint-{stage.steps}").exists() and (code := train(stage)):
        raise SystemExit(code)  # it has said why; the same command goes on
    return stage.out


def steps_of(config: Config, name: str) -> int:
    """Steps that the variant's weights have had in all."""
    return config.begin if name == "start" else config.steps + steps_of(config, VARIANTS[name][2])


def scored(config: Config, folder: Path) -> dict[str, Any]:
    """The last pass's scores on the other rooms."""
    from fastseg.gates import Gates
    from fastseg.gates import main as look

    if not (folder / "gates/gates.json").exists():
        look(Gates(folder, "folder", str(images_of(config.runs)), folder / "gates", "test", threads=1))
    found: dict[str, Any] = json.loads((folder / "gates/gates.json").read_text())
    return {"edges": found["edges"], "passes": [each["miou"] for each in found["passes"]], **found["passes"][-1]}


def summary(results: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and deviation over seeds, gains over the baseline by distance and by class, and the paper's order."""
    miou = {name: [each["miou"] for each in found] for name, found in results.items() if found}
    mean = {name: float(np.mean(values)) for name, values in miou.items()}
    deviation = {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in miou.items()}
    order = list(pairwise(name for name in VARIANTS if results.get(name)))
    holds = {f"{a} < {b}": mean[a] < mean[b] for a, b in order}
    in_seeds = {f"{a} < {b}": sum(x < y for x, y in zip(miou[a], miou[b], strict=False)) for a, b in order}
    places = {name: [_places(run) for run in found] for name, found in results.items() if found}
    return {
        "miou": mean, "deviation": deviation, "order": holds, "order_holds": all(holds.values()),
        "order_in_seeds": in_seeds,
        "gain_by_distance": {name: _gains(found, places["baseline"]) for name, found in places.items()},
    }  # fmt: skip


def _places(run: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The IoU of all classes (mIoU) and of each in every depth bin, nearest first; None where nothing of it was."""
    bins = [each or {"miou": None, "per_class": []} for each in run["distances"]]
    names = [each["class"] for each in run["per_class"]]
    found: dict[str, list[float | None]] = {"all": [each["miou"] for each in bins]}
    for name in names:
        found[name] = [next((c["iou"] for c in each["per_class"] if c["class"] == name), None) for each in bins]
    return found


def _gains(found: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """`_places` minus the baseline's, mean over seeds; a class that was nowhere is left out."""
    gains = {name: [_gain(found, base, name, number) for number in range(len(each))] for name, each in base[0].items()}
    return {name: each for name, each in gains.items() if any(value is not None for value in each)}


def _gain(
    found: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]], name: str, number: int
) -> float | None:
    pairs = [(x[name][number], y[name][number]) for x, y in zip(found, base, strict=False)]
    return None if any(None in pair for pair in pairs) else float(np.mean([x - y for x, y in pairs]))


def main(config: Config) -> int:
    """0 after training and scoring every variant of every seed; the results are written after each."""
    rooms(config)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in range(config.seeds):
        for name in VARIANTS:
            results[name].append(scored(config, trained(config, name, seed)))
            print(f"seed {seed}, {name}: mIoU {results[name][-1]['miou']:.4f}", flush=True)
        plain = {key: value for key, value in asdict(config).items() if key not in ("runs", "out")}
        steps = {name: steps_of(config, name) for name in VARIANTS}
        write_json(config.out, {"name": "study_gating_rooms", **stamp(), "config": plain, "steps": steps,
                                "summary": summary(results), "results": results})  # fmt: skip
    for name, value in summary(results)["miou"].items():
        print(f"{name:18} {100 * value:6.2f} %")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
