"""What an HN-label run is to do: its options, which frames it takes, and what decides its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import fastseg
from fastseg.data.sample import sample_over_scenes, scene_of
from fastseg.data.tum import CameraName
from fastseg.frames import FrameSource
from fastseg.labels.hn import HNConfig, quantile_edges
from fastseg.ops.hn_labels import normal_edges_deg
from pipelines import ledger

CHECKOUT = Path(__file__).parents[1]
SOURCES = ("fastseg/labels", "fastseg/ops", "fastseg/data", "csrc")  # the code that decides a label


@dataclass(frozen=True)
class Tuning:
    """Settings that few runs change.

    timeout_s        seconds after which a frame is given up and rejected
    frame_mb         MiB of memory that a frame may take before it is rejected
    worker_mb        MiB set aside for a worker: no more run at once than there is memory for
    max_reject       the share of rejected frames above which the exit code is 3
    shard_size       frames a shard
    hash_inputs      fingerprint the content of every input file, not its size alone (reads the corpus once more)
    every            take every n-th frame of the sorted ids, before --sample and --limit
    seed             of --sample, and of the sample of frames that quantile edges come from
    height_edges     uniform bins, or quantile bins over a sample of the frames
    max_depth_m      depth beyond it is no measurement, for a sensor of known range
    consensus_window frames away at which a vote counts half; 0: all of a scene alike, for poses that are exact
    gpus_per_worker  share of a GPU that a worker of --device cuda owns
    batch            frames that a worker of --device cuda labels at a time
    """

    timeout_s: float = 60.0
    frame_mb: int = 2048
    worker_mb: int = 600
    max_reject: float = 0.9
    shard_size: int = 64
    hash_inputs: bool = False
    every: int = 1
    seed: int = 0
    height_edges: Literal["uniform", "quantile"] = "uniform"
    max_depth_m: float | None = None
    consensus_window: float = 16.0
    gpus_per_worker: float = 0.25
    batch: int = 64


@dataclass(frozen=True)
class MakeHNLabels:
    """Make HN-labels for every frame of a data set: label shards, rejected frames with reasons, a manifest.

    reader        the layout of the data set: folder, 7scenes, tum, ...; an unknown one lists them all
    root          its folder, or s3://, gs://, ... for one in a store
    out           the folder or store to write; the same command again resumes, or does nothing when all is done
    workers       label processes; 0 runs inline without Ray; all cores when not given
    device        cpu, or cuda to decode on the cores and label in batches on GPUs
    address       an existing Ray cluster (auto or ray://...) instead of a Ray started here
    depth_scale   metres for one unit of depth, instead of the data set's own
    intrinsics    an intrinsics.json that lies elsewhere (folder, tum)
    camera        a published camera (tum)
    split         all, train or test (nyuv2)
    sample        draw so many frames, the same number from every scene as far as scenes are long enough
    limit         take at most so many frames, the first of the sorted ids
    consensus     up and floor by a vote of the scene's frames: by their poses, or of a sequence's standing camera
    tuning        settings that few runs change
    hn            how a label is made
    """

    reader: str
    root: str
    out: str
    workers: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    address: str | None = None
    depth_scale: float | None = None
    intrinsics: str | None = None
    camera: CameraName | None = None
    split: str | None = None
    sample: int | None = None
    limit: int | None = None
    consensus: Literal["none", "poses", "sequence"] = "none"
    tuning: Tuning = field(default_factory=Tuning)
    hn: HNConfig = field(default_factory=HNConfig)


def check_counts(config: MakeHNLabels) -> None:
    """None; ValueError names a count below 1, or a seed below 0."""
    counts = {f"tuning.{name}": getattr(config.tuning, name) for name in ("every", "shard_size", "seed")}
    for name, count in (counts | {"sample": config.sample, "limit": config.limit}).items():
        least = 0 if name == "tuning.seed" else 1
        if count is not None and count < least:
            raise ValueError(f"--{name} must be at least {least}; got {count}")


def chosen(config: MakeHNLabels, source: FrameSource) -> tuple[str, ...]:
    """The sorted ids of the frames to label: every n-th, of these a sample over scenes, of these the first."""
    ids = source.ids()[:: config.tuning.every]
    if config.sample is not None:
        ids = sample_over_scenes(ids, getattr(source, "scene", scene_of), config.sample, config.tuning.seed)
    return tuple(ids[: config.limit])


def with_edges(config: MakeHNLabels, out: Path, source: FrameSource, ids: Sequence[str]) -> HNConfig:
    """The label settings with their edges: given, uniform, or quantiles (an earlier run's own, when it has them)."""
    tuning = config.tuning
    if tuning.height_edges == "uniform":
        return config.hn
    if config.hn.height_edges is not None:
        raise ValueError("give either --tuning.height_edges quantile or --hn.height_edges, not both")
    before = ((ledger.read_run(out) or {}).get("config")) or {}
    wanted = plain({"hn": asdict(config.hn), "seed": tuning.seed, "kind": "quantile"})
    edges, had = before.get("hn", {}).get("height_edges"), before.get("tuning", {})
    same = {"hn": before.get("hn", {}) | {"height_edges": None}, "seed": had.get("seed")}
    if edges and same | {"kind": had.get("height_edges")} == wanted:
        return replace(config.hn, height_edges=tuple(edges))
    return replace(config.hn, height_edges=tuple(quantile_edges(source, ids, config.hn, tuning.seed)))


def decides(config: MakeHNLabels, hn: HNConfig, root: Path) -> dict[str, Any]:
    """The settings that change a label, flat. The root is not one: a data set may move, its ids and sizes may not.

    The device is one: a GPU's labels are the processor's but for single pixels.
    """
    names = ("reader", "device", "depth_scale", "intrinsics", "camera", "split", "sample", "limit")
    tuned = ("every", "height_edges", "max_depth_m", "hash_inputs")
    flat = {name: getattr(config, name) for name in names} | {f"hn.{name}": v for name, v in asdict(hn).items()}
    flat |= {f"tuning.{name}": getattr(config.tuning, name) for name in tuned}
    if config.sample is not None:
        flat["tuning.seed"] = config.tuning.seed
    if config.reader == "rooms":  # its frames have no files: they follow from these numbers
        flat["rooms.json"] = (root / "rooms.json").read_text()
    return {name: plain(value) for name, value in flat.items()}


def bins(hn: HNConfig) -> dict[str, Any]:
    """What a reader needs to name the classes: bins, inner height edges in metres, inner normal edges in degrees."""
    edges = {"height_edges": [float(edge) for edge in hn.edges_m]}
    angles = {"normal_edges_deg": [float(angle) for angle in normal_edges_deg(hn.n_normal)]}
    return {"n_height": hn.n_height, "n_normal": hn.n_normal} | edges | angles


def code() -> str:
    """The version of the code that decides a label."""
    return ledger.code_version(fastseg.__version__, (CHECKOUT / folder for folder in SOURCES))


def plain(value: Any) -> Any:
    """The value as JSON will give it back: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
