"""Table 4 of the HN-label paper, CamVid by epoch: `python -m benchmarks.reproduce.camvid`.

    python -m pipelines.make_hn_labels --reader 7scenes --root KITCHEN --out KITCHEN_LABELS
    python -m benchmarks.reproduce.camvid --root CAMVID --pretrain KITCHEN_LABELS,ROOM_LABELS --out DIR

One network is pre-trained on the HN-labels of all corpora together. Networks of the same kind are then trained on
CamVid's training images from each start, by the same schedule, and scored on its validation images at fixed epochs.
The same command again goes on where it was stopped. Writes DIR/camvid-<protocol>-<date>.json.

The paper's table, global accuracy in per cent (SegNet, 480x360; pre-training on NYUv2's raw frames):

    epochs       5      10      50     100
    none     10.69   31.95   54.85   71.07
    ImageNet 24.97   27.10   42.40   85.87
    HN       78.98   81.70   84.50   86.03

What to look for is HN far ahead at the first epochs and the gap closing with time. `--protocol paper` has the paper's
network, size and epochs, for a GPU, and was not run so far; `--protocol cpu` is small enough for one core, with another
network, size and epochs, so that its figures compare with each other and not with the table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.timing import write_result
from fastseg.cli import run
from fastseg.data.camvid import CamVid
from fastseg.data.hn_runs import Joined
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, OptimConfig
from fastseg.methods.hn import HN
from fastseg.methods.segment import Segment
from fastseg.train import fit

MEASURES = ("global_accuracy", "class_accuracy", "miou")
LOG_EVERY = 5


@dataclass(frozen=True)
class Protocol:
    """The settings of a table; every start has the same.

    size, pretrain_size     HEIGHTxWIDTH of the CamVid images, of the pre-training images
    epochs                  after which the network is scored, the last ends the training
    lr, optimizer, ...      of training and of pre-training alike, at a constant rate after the warm-up
    """

    network: str
    size: str
    pretrain_size: str
    batch: int
    epochs: tuple[int, ...]
    pretrain_steps: int
    lr: float
    optimizer: Literal["sgd", "adamw"]
    weight_decay: float
    warmup: int
    precision: Literal["auto", "float32", "bf16"]


PAPER = Protocol("segnet/vgg16_bn", "360x480", "424x560", 4, (5, 10, 50, 100), 200_000, 1e-3, "sgd", 5e-4, 0, "auto")
CPU = Protocol("linknet/resnet18", "96x128", "96x128", 8, (1, 2, 5, 10), 800, 5e-4, "adamw", 0.01, 20, "bf16")
PROTOCOLS = {"paper": PAPER, "cpu": CPU}


@dataclass(frozen=True)
class Config:
    """Accuracy on CamVid at fixed epochs, from scratch and from HN pre-training.

    root        CamVid in the layout of SegNet
    pretrain    output folders of make_hn_labels, with commas between them
    out         the folder for the trained networks and the result
    protocol    cpu or paper
    seeds       how often each start is trained, with other random weights, order and augmentation
    imagenet    train from timm's published ImageNet weights of the encoder as well, which are downloaded
    device      cpu, cuda, ...; auto = cuda where there is one
    threads     of torch on the CPU, 0 = torch's own choice
    workers     processes that read images
    """

    root: Path
    pretrain: str
    out: Path
    protocol: Literal["cpu", "paper"] = "cpu"
    seeds: int = 2
    imagenet: bool = False
    device: str = "auto"
    threads: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"--seeds must be at least 1; got {self.seeds}")


def shards(folders: str) -> Joined:
    """The label runs in folders named with commas between them."""
    from fastseg.data.shards import HNShards

    return Joined([HNShards(folder) for folder in folders.split(",")])


def optim(protocol: Protocol) -> OptimConfig:
    """How both trainings minimise: at a constant rate after the warm-up."""
    return OptimConfig(
        lr=protocol.lr, optimizer=protocol.optimizer, weight_decay=protocol.weight_decay, warmup=protocol.warmup
    )


def loop(config: Config, protocol: Protocol, eval_every: int) -> LoopConfig:
    """How both trainings run."""
    return LoopConfig(
        precision=protocol.precision, device=config.device, workers=config.workers, threads=config.threads,
        log_every=LOG_EVERY, save_every=500, eval_every=eval_every,
    )  # fmt: skip


def pretrain(config: Config, protocol: Protocol, examples: LabelledImages) -> int:
    """The exit code; the HN network lies in OUT/pretrained."""
    method = HN(
        root=config.pretrain.split(",")[0], out=config.out / "pretrained", network=protocol.network,
        size=protocol.pretrain_size, steps=protocol.pretrain_steps, batch=protocol.batch, optim=optim(protocol),
        resume=True, loop=loop(config, protocol, 0),
    )  # fmt: skip
    return fit(method, examples)


def train(config: Config, protocol: Protocol, out: Path, init_from: str, seed: int) -> int:
    """The exit code; the network trained on CamVid lies in `out`, its scores by step in out/metrics.jsonl."""
    per_epoch = steps_per_epoch(config, protocol)
    method = Segment(
        data="camvid", root=str(config.root), out=out, network=protocol.network, size=protocol.size,
        steps=per_epoch * max(protocol.epochs), batch=protocol.batch, optim=optim(protocol), init_from=init_from,
        seed=seed, resume=True, loop=loop(config, protocol, per_epoch * math.gcd(*protocol.epochs)),
    )  # fmt: skip
    return fit(method, method.examples(), method.validation())


def steps_per_epoch(config: Config, protocol: Protocol) -> int:
    """Whole batches in CamVid's training images."""
    return len(CamVid(config.root, "train")) // protocol.batch


def by_epoch(metrics: Path, epochs: Sequence[int], per_epoch: int) -> list[dict[str, float]]:
    """The scores in a run's metrics.jsonl after each of the epochs: epoch and the three measures, fractions."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    scores = {line["step"]: line for line in lines if "miou" in line}
    return [{"epoch": n, **{key: scores[n * per_epoch][key] for key in MEASURES}} for n in epochs]


def seconds(metrics: Path, batch: int) -> float:
    """Seconds that a run's logged steps took, whatever stops lay between them."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    logged = [line for line in lines if "images_per_s" in line]
    starts = [0, *(line["step"] for line in logged)]
    steps = (line["step"] - start for start, line in zip(starts[:-1], logged, strict=True))
    return float(round(sum(batch * n / line["images_per_s"] for n, line in zip(steps, logged, strict=True)), 1))


def commonest(examples: LabelledImages) -> dict[str, Any]:
    """The class with most pixels and its share: the global accuracy of always guessing it."""
    counts = sum(np.bincount(examples[i][1].ravel(), minlength=256)[:255] for i in range(len(examples)))
    pixels = np.asarray(counts)
    best = int(pixels.argmax())
    return {"class": examples.class_names[best], "global_accuracy": float(pixels[best] / pixels.sum())}


def table(runs: Sequence[dict[str, Any]], measure: str) -> list[str]:
    """Lines of one measure in per cent, mean over the seeds: a line a start, a column an epoch."""
    epochs = [row["epoch"] for row in runs[0]["epochs"]]
    lines = [f"{measure + ' %, epoch':<26}" + "".join(f"{epoch:>8}" for epoch in epochs)]
    for start in dict.fromkeys(each["start"] for each in runs):
        values = [[row[measure] for row in each["epochs"]] for each in runs if each["start"] == start]
        means = 100 * np.mean(values, 0)
        lines.append(f"{start:<26}" + "".join(f"{mean:8.2f}" for mean in means))
    return lines


def main(config: Config) -> int:
    """0 after writing the result; otherwise the exit code of the training that ended early."""
    protocol, validation = PROTOCOLS[config.protocol], CamVid(config.root, "val")
    corpus = shards(config.pretrain)
    if code := pretrain(config, protocol, corpus):
        return code
    starts = {"none": "", "hn": str(config.out / "pretrained")}
    if config.imagenet:
        starts["imagenet"] = f"timm:{protocol.network.partition('/')[2]}"
    runs: list[dict[str, Any]] = []
    for seed in range(config.seeds):
        for start, init_from in starts.items():
            out = config.out / f"{start}-{seed}"
            if code := train(config, protocol, out, init_from, seed):
                return code
            scores = by_epoch(out / "metrics.jsonl", protocol.epochs, steps_per_epoch(config, protocol))
            took = seconds(out / "metrics.jsonl", protocol.batch)
            runs.append({"start": start, "seed": seed, "epochs": scores, "seconds": took})
    for measure in MEASURES:
        print("\n".join(table(runs, measure)))
    payload = {
        "protocol": {"name": config.protocol, **asdict(protocol)},
        "images": {"train": len(CamVid(config.root, "train")), "validation": len(validation)},
        "pretraining": {
            "images": [len(part) for part in corpus.parts],
            "seconds": seconds(config.out / "pretrained" / "metrics.jsonl", protocol.batch),
        },
        "commonest_class": commonest(validation),
        "runs": runs,
    }
    print(f"written to {write_result(f'camvid-{config.protocol}', payload, config.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(Config, main))
