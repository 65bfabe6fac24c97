"""A finished label run's folder as it is read back: statistics of every frame, rejected frames, and the source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastseg.data.places import place, present
from fastseg.data.shard_reader import read_columns
from fastseg.data.shards import REJECTED_SCHEMA, HNShards
from fastseg.data.sources import Reader, open_source
from fastseg.frames import FrameSource
from fastseg.labels.hn import HNConfig

OPTIONS = ("depth_scale", "intrinsics", "camera", "split")
STATISTICS = ("up", "floor_m", "aligned_fraction", "valid_fraction", "disagreement_deg", "bins", "height", "width")


@dataclass(frozen=True)
class LabelRun:
    """The folder that make_hn_labels wrote: `labels/*.parquet`, `rejected/*.parquet`, `run.json`."""

    folder: Path
    shards: HNShards
    about: dict[str, Any]

    @cached_property
    def table(self) -> pa.Table:
        """The statistics of all labelled frames, without pictures and labels."""
        columns = ["id", *STATISTICS]
        return pa.concat_tables(read_columns(path, columns) for path in self.shards.paths)

    @cached_property
    def rejected(self) -> list[dict[str, Any]]:
        """Rejected frames (id, reason, detail, value), sorted by reason and id."""
        paths = sorted((self.folder / "rejected").glob("*.parquet"))
        rows = [row for path in paths for row in read_columns(path, REJECTED_SCHEMA.names).to_pylist()]
        return sorted(rows, key=lambda row: (row["reason"], row["id"]))

    @cached_property
    def up(self) -> npt.NDArray[np.float64]:
        """Up of every labelled frame (N, 3)."""
        flat = self.table["up"].combine_chunks().flatten()
        return np.asarray(flat, np.float64).reshape(-1, 3)

    @cached_property
    def bins(self) -> npt.NDArray[np.int64]:
        """Pixels of each label over all frames (n_normal * n_height,)."""
        lists = self.table["bins"].combine_chunks()
        flat = np.asarray(lists.flatten(), np.int64)
        classes = int(self.hn["n_normal"]) * int(self.hn["n_height"])
        return np.asarray(flat.reshape(len(lists), classes).sum(axis=0), np.int64)

    @property
    def hn(self) -> dict[str, Any]:
        """n_height, n_normal and the inner edges the labels were made with."""
        return dict(self.shards.metadata["hn"])

    @property
    def normals(self) -> dict[str, Any]:
        """The settings of the op `normals` that the labels were made with, the defaults where run.json is silent."""
        given = self.about.get("config", {}).get("hn", {})
        return {name: given.get(name, getattr(HNConfig(), name)) for name in ("estimator", "radius", "max_residual")}

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A column of single figures (N,)."""
        return np.asarray(self.table[name].combine_chunks(), np.float64)


def read_run(folder: str | Path) -> LabelRun:
    """The label run in the folder; ValueError when it holds no shards, FileNotFoundError when it does not exist."""
    out = place(folder)
    if not out.is_dir():
        raise FileNotFoundError(f"{out} is not a folder; expected the output folder of make_hn_labels")
    path = out / "run.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(about, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(about).__name__}")
    return LabelRun(out, HNShards(out), about)


def reopened(
    run: LabelRun, reader: Reader | None = None, root: str | None = None, depth_scale: float | None = None
) -> tuple[FrameSource | None, str]:
    """The frames that the run was made from, or None and one sentence why they cannot be read.

    What is not given is taken from the run's own configuration.
    """
    config = run.about.get("config", {})
    reader, root = reader or config.get("reader"), root or config.get("root")
    options = {key: config[key] for key in OPTIONS if config.get(key) is not None}
    if depth_scale is not None:
        options["depth_scale"] = depth_scale
    if reader is None or root is None:
        return (
            None,
            f"depth not available: {run.folder / 'run.json'} names no reader and root; give --reader and --root",
        )
    if reader not in get_args(Reader):
        return None, f"depth not available: unknown reader {reader!r}; expected one of {', '.join(get_args(Reader))}"
    try:
        if not present(place(root)):
            return None, f"depth not available: {root} not found; give --root"
        return open_source(reader, root, **options), ""
    except (ValueError, OSError, ImportError) as error:
        return None, f"depth not available: {error}"
