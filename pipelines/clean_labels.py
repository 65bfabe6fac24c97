"""Clean the labels of a run: `python -m pipelines.clean_labels --run DIR --autoencoder RUN --out DIR`.

Beyond the label-structure paper: an autoencoder of the run's own label maps knows what labels look like, and a label
that it finds unlikely beside its neighbours gives way. What is written is a label run as any other, of HN-labels or of
PSSL labels: on the same ledger, resumed by the same command, read by `fastseg verify` and `fastseg train`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import fastseg
from fastseg.cli import run
from fastseg.data.places import place
from fastseg.data.shards import HNShards, read_metadata
from pipelines import ledger
from pipelines.clean_work import CleanRow, autoencoder, opened
from pipelines.fan_out import fan_out
from pipelines.hn_plan import CHECKOUT, plain

SOURCES = ("fastseg/nets", "fastseg/data")


@dataclass(frozen=True)
class CleanLabels:
    """Write a label run again, each label that its autoencoder doubts replaced or left out.

    run           the label run, a folder or s3://, gs://, ...
    autoencoder   a run of `fastseg train label-autoencoder --data shards` on labels of the same bins
    out           the folder or store to write; the same command again resumes, or does nothing when all is done
    doubt         a label goes where the autoencoder gives it a probability below this
    instead       of a doubted label: the likeliest class, or void (255); of a PSSL label, whose picture has one class,
                  a doubted pixel of it is background
    workers       processes; 0 runs inline without Ray; all cores when not given
    address       an existing Ray cluster (auto or ray://...) instead of a Ray started here
    timeout_s     seconds after which a label is given up and rejected
    frame_mb      MiB of memory that a label may take before it is rejected; torch is loaded within it
    worker_mb     MiB set aside for a worker
    shard_size    labels a shard
    """

    run: str
    autoencoder: str
    out: str
    doubt: float = 0.1
    instead: Literal["class", "void"] = "class"
    workers: int | None = None
    address: str | None = None
    timeout_s: float = 120.0
    frame_mb: int = 8192
    worker_mb: int = 2000
    shard_size: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.doubt <= 1:
            raise ValueError(f"--doubt is a probability above 0; got {self.doubt:g}")
        if self.shard_size < 1:
            raise ValueError(f"--shard_size must be at least 1; got {self.shard_size}")


def main(config: CleanLabels) -> int:
    """Clean the labels; the exit code of `pipelines.fan_out.fan_out`."""
    source, out = str(place(config.run)), place(config.out)
    work = CleanRow(source, str(Path(config.autoencoder).absolute()), config.doubt, config.instead == "void")
    shards, _ = opened(source)
    if work.void and "pssl" in shards.metadata:
        raise ValueError(
            f"{source} holds PSSL labels, which have no void: a doubted pixel is background; leave --instead"
        )
    workers = (os.cpu_count() or 1) if config.workers is None else config.workers
    plan = plan_of(config, shards, check_fits(work, shards))
    return fan_out(
        plan, work, out, workers=workers, address=config.address, timeout_s=config.timeout_s, frame_mb=config.frame_mb,
        worker_mb=config.worker_mb, about={"config": plain(asdict(config))},
    )  # fmt: skip


def check_fits(work: CleanRow, shards: HNShards) -> str:
    """The SHA-256 of the autoencoder's weights; ValueError when its classes are not the run's."""
    from fastseg.checkpoint import load
    from fastseg.nets.regulariser import digest_of

    net, _ = autoencoder(work.autoencoder)
    theirs, ours = load(Path(work.autoencoder)).record.classes, tuple(shards.class_names)
    if theirs != ours:
        raise ValueError(
            f"{work.autoencoder} was trained on {len(theirs)} classes ({', '.join(theirs[:3])}, ...), and the labels "
            f"of {work.run} are of {len(ours)} ({', '.join(ours[:3])}, ...): train one on them with --data shards"
        )
    return digest_of(net)


def plan_of(config: CleanLabels, shards: HNShards, weights: str) -> ledger.Plan:
    """What the run is: the ids of the labels, the shards behind them, and all that decides what they become."""
    counts = [int(read_metadata(path)["rows"]) for path in shards.paths]
    stamps = ledger.input_stamps([str(path)] for path in shards.paths)
    inputs = tuple(stamp for stamp, count in zip(stamps, counts, strict=True) for _ in range(count))
    decides = {"doubt": config.doubt, "instead": config.instead, "autoencoder": weights}
    decides["labels"] = shards.metadata["fingerprint"]
    code = ledger.code_version(fastseg.__version__, (CHECKOUT / folder for folder in SOURCES))
    metadata: dict[str, Any] = {name: shards.metadata[name] for name in ("hn", "pssl") if name in shards.metadata}
    return ledger.Plan(tuple(shards.ids()), inputs, decides, code, metadata, shard_size=config.shard_size)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m pipelines.clean_labels`."""
    return run(CleanLabels, main, argv, prog="python -m pipelines.clean_labels")


if __name__ == "__main__":
    sys.exit(cli())
