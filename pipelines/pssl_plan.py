"""What a PSSL run is to do: its options, its classes, and what decides its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import fastseg
from fastseg.classifiers import ClassifierAt, described, read_class_names
from fastseg.data.class_pictures import ClassPictures
from fastseg.labels.pssl_config import PSSLConfig
from pipelines import ledger
from pipelines.hn_plan import CHECKOUT, SOURCES, plain

LIBRARIES = ("torch", "torchvision", "timm")  # a label's last bits are theirs


@dataclass(frozen=True)
class Tuning:
    """Settings that few runs change.

    timeout_s        seconds after which a picture is given up and rejected
    worker_mb        MiB set aside for a worker: no more run at once than there is memory for
    max_reject       the share of rejected pictures above which the exit code is 3
    shard_size       pictures a shard
    hash_inputs      fingerprint the content of every input file, not its size alone (reads the corpus once more)
    keep_images      whether shards hold the picture files, so that training needs nothing else
    gpus_per_worker  share of a GPU that a worker of --device cuda owns
    readers          shards that tasks of the processor read and decode ahead of each worker of --device cuda, so that
                     no GPU waits for a decoder; 0 = the worker reads its own
    batch            pictures that a worker labels at a time
    models_at_once   classifiers that a worker holds at most, the pictures go through as many stages as that takes
                     (`pipelines.pssl_stages`); 0 = all of them
    """

    timeout_s: float = 600.0
    worker_mb: int = 3000
    max_reject: float = 0.9
    shard_size: int = 64
    hash_inputs: bool = False
    keep_images: bool = True
    gpus_per_worker: float = 1.0
    readers: int = 2
    batch: int = 8
    models_at_once: int = 0


@dataclass(frozen=True)
class MakePSSLLabels:
    """Make PSSL labels for every picture of a data set of image classes: shards, rejected pictures, a manifest.

    layout    imagefolder, tar or parquet, see fastseg.data.class_pictures
    root      the folder of the pictures, or s3://, gs://, ... for one in a store
    models    a JSON file that lists the classifiers, see fastseg.classifiers
    out       the folder or store to write; the same command again resumes, or does nothing when all is done
    classes   a text file of the class names in the order of the classifiers' outputs; else the folders' sorted names
    workers   label processes; 0 runs inline without Ray; all cores when not given
    device    cpu, or cuda for workers that own a share of a GPU
    address   an existing Ray cluster (auto or ray://...) instead of a Ray started here
    limit     take at most so many pictures, the first of the sorted ids
    tuning    settings that few runs change
    pssl      how a label is made
    """

    layout: Literal["imagefolder", "tar", "parquet"]
    root: str
    models: Path
    out: str
    classes: Path | None = None
    workers: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    address: str | None = None
    limit: int | None = None
    tuning: Tuning = field(default_factory=Tuning)
    pssl: PSSLConfig = field(default_factory=PSSLConfig)


def check_counts(config: MakePSSLLabels) -> None:
    """None; ValueError names a count below 1, or a share of a GPU that cannot be."""
    counts = {f"tuning.{name}": getattr(config.tuning, name) for name in ("shard_size", "batch")}
    for name, count in (counts | {"limit": config.limit}).items():
        if count is not None and count < 1:
            raise ValueError(f"--{name} must be at least 1; got {count}")
    if config.tuning.models_at_once < 0:
        raise ValueError(f"--tuning.models_at_once must be at least 0; got {config.tuning.models_at_once}")
    if config.tuning.models_at_once and config.pssl.stop_at:
        raise ValueError("--pssl.stop_at looks at all classifiers' maps; it does not go with --tuning.models_at_once")
    if config.tuning.readers < 0:
        raise ValueError(f"--tuning.readers must be at least 0; got {config.tuning.readers}")
    share = config.tuning.gpus_per_worker
    if not (0 < share <= 1 or share == int(share) > 1):
        raise ValueError(f"--tuning.gpus_per_worker must lie above 0 and up to 1, or be whole; got {share:g}")


def class_names(config: MakePSSLLabels, source: ClassPictures) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers; ValueError when nobody knows them."""
    if config.classes is not None:
        return read_class_names(config.classes)
    if source.class_names:
        return source.class_names
    raise ValueError(f"{config.root} has class numbers alone: name them with --classes FILE, one a line")


def decides(config: MakePSSLLabels, models: Sequence[ClassifierAt], classes: Sequence[str]) -> dict[str, Any]:
    """The settings that change a label, flat: not the root, which may move; nor how much is done at a time.

    The size of a pass changes a map's last bits, and with them single pixels between two deciles.
    """
    flat: dict[str, Any] = {name: getattr(config, name) for name in ("layout", "device", "limit")}
    flat |= {f"pssl.{name}": value for name, value in asdict(config.pssl).items()}
    flat |= {"pssl.pass_size": config.pssl.most(config.device), "tuning.keep_images": config.tuning.keep_images}
    flat |= {f"model.{one['name']}": one for one in described(models)} | {"models": [one.name for one in models]}
    flat |= {"classes": list(classes), "tuning.hash_inputs": config.tuning.hash_inputs}
    flat |= {f"version.{name}": version(name) for name in LIBRARIES}
    return {name: plain(value) for name, value in flat.items()}


def about(config: MakePSSLLabels, models: Sequence[ClassifierAt], classes: Sequence[str]) -> dict[str, Any]:
    """What a reader needs to know of the labels: the classes' names and which classifiers were asked."""
    return {"classes": list(classes), "models": [one.name for one in models], "samples": config.pssl.samples}


def code() -> str:
    """The version of the code that decides a label."""
    return ledger.code_version(fastseg.__version__, (CHECKOUT / folder for folder in SOURCES))
