"""HN-labels of a whole corpus: `python -m pipelines.make_hn_labels --reader 7scenes --root DIR --out DIR`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import fastseg
from fastseg.cli import run
from fastseg.data.sources import Reader
from fastseg.data.tum import CameraName
from fastseg.frames import FrameSource
from fastseg.labels.hn import HNConfig, check, quantile_edges
from fastseg.ops.hn_labels import normal_edges_deg
from pipelines import ledger
from pipelines.fan_out import fan_out
from pipelines.hn_work import LabelFrame, SourceAt, opened

CHECKOUT = Path(__file__).parents[1]
SOURCES = ("fastseg/labels", "fastseg/ops", "fastseg/data", "csrc")  # the code that decides a label


@dataclass(frozen=True)
class Tuning:
    """Settings that few runs change.

    timeout_s    seconds after which a frame is given up and rejected
    shard_size   frames a shard
    hash_inputs  fingerprint the content of every input file, not its size alone (reads the corpus once more)
    seed         of the sample of frames that quantile edges come from
    """

    timeout_s: float = 60.0
    shard_size: int = 64
    hash_inputs: bool = False
    seed: int = 0


@dataclass(frozen=True)
class MakeHNLabels:
    """Make HN-labels for every frame of a data set: label shards, rejected frames with reasons, a manifest.

    reader        the layout of the data set
    root          its folder
    out           the folder to write; the same command again resumes, or does nothing when all is done
    workers       label processes; 0 runs inline without Ray; all cores when not given
    address       an existing Ray cluster (auto or ray://...) instead of a Ray started here
    depth_scale   metres for one unit of depth, instead of the data set's own
    intrinsics    an intrinsics.json that lies elsewhere (folder, tum)
    camera        a published camera (tum)
    split         all, train or test (nyuv2)
    every         take every n-th frame of the sorted ids
    limit         take at most so many frames
    height_edges  uniform bins, or quantile bins over a sample of the frames
    max_reject    the share of rejected frames above which the exit code is 3
    tuning        settings that few runs change
    hn            how a label is made
    """

    reader: Reader
    root: Path
    out: Path
    workers: int | None = None
    address: str | None = None
    depth_scale: float | None = None
    intrinsics: Path | None = None
    camera: CameraName | None = None
    split: str | None = None
    every: int = 1
    limit: int | None = None
    height_edges: Literal["uniform", "quantile"] = "uniform"
    max_reject: float = 0.9
    tuning: Tuning = field(default_factory=Tuning)
    hn: HNConfig = field(default_factory=HNConfig)


def main(config: MakeHNLabels) -> int:
    """Label the data set; the exit code of `pipelines.fan_out.fan_out`."""
    if config.every < 1 or (config.limit is not None and config.limit < 1):
        raise ValueError(f"--every and --limit must be at least 1; got {config.every} and {config.limit}")
    check(config.hn)
    workers = (os.cpu_count() or 1) if config.workers is None else config.workers
    at = SourceAt(**{f.name: getattr(config, f.name) for f in fields(SourceAt)})
    at = replace(at, root=config.root.resolve())
    source = opened(at)
    ids = tuple(source.ids()[:: config.every][: config.limit])
    hn = _with_edges(config, source, ids)
    inputs = ledger.input_stamps((source.inputs(frame_id) for frame_id in ids), config.tuning.hash_inputs)
    plan = ledger.Plan(
        ids, inputs, _decides(config, hn), _code(), {"hn": _bins(hn)}, shard_size=config.tuning.shard_size
    )
    about = {"config": _plain(asdict(replace(config, root=at.root, hn=hn, workers=workers)))}
    return fan_out(
        plan,
        LabelFrame(at, hn),
        config.out,
        workers=workers,
        address=config.address,
        timeout_s=config.tuning.timeout_s,
        max_reject=config.max_reject,
        about=about,
    )


def _with_edges(config: MakeHNLabels, source: FrameSource, ids: Sequence[str]) -> HNConfig:
    """The label settings with their edges: given, uniform, or quantiles (an earlier run's own, when it has them)."""
    if config.height_edges == "uniform":
        return config.hn
    if config.hn.height_edges is not None:
        raise ValueError("give either --height_edges quantile or --hn.height_edges, not both")
    before = ((ledger.read_run(config.out) or {}).get("config")) or {}
    wanted = _plain({"hn": asdict(config.hn), "seed": config.tuning.seed, "kind": "quantile"})
    edges = before.get("hn", {}).get("height_edges")
    had = {"hn": before.get("hn", {}) | {"height_edges": None}, "seed": before.get("tuning", {}).get("seed")}
    if edges and had | {"kind": before.get("height_edges")} == wanted:
        return replace(config.hn, height_edges=tuple(edges))
    return replace(config.hn, height_edges=tuple(quantile_edges(source, ids, config.hn, config.tuning.seed)))


def _decides(config: MakeHNLabels, hn: HNConfig) -> dict[str, Any]:
    """The settings that change a label, flat. The root is not one: a data set may move, its ids and sizes may not."""
    names = ("reader", "depth_scale", "intrinsics", "camera", "split", "every", "limit", "height_edges")
    flat = {name: getattr(config, name) for name in names} | {f"hn.{name}": v for name, v in asdict(hn).items()}
    flat |= {"hash_inputs": config.tuning.hash_inputs}
    if config.reader == "rooms":  # its frames have no files: they follow from these numbers
        flat["rooms.json"] = (config.root / "rooms.json").read_text()
    return {name: _plain(value) for name, value in flat.items()}


def _bins(hn: HNConfig) -> dict[str, Any]:
    """What a reader needs to name the classes: bins, inner height edges in metres, inner normal edges in degrees."""
    edges = {"height_edges": [float(edge) for edge in hn.edges_m]}
    angles = {"normal_edges_deg": [float(angle) for angle in normal_edges_deg(hn.n_normal)]}
    return {"n_height": hn.n_height, "n_normal": hn.n_normal} | edges | angles


def _code() -> str:
    return ledger.code_version(fastseg.__version__, (CHECKOUT / folder for folder in SOURCES))


def _plain(value: Any) -> Any:
    """The value as JSON will give it back: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m pipelines.make_hn_labels`."""
    return run(MakeHNLabels, main, argv)


if __name__ == "__main__":
    sys.exit(cli())
