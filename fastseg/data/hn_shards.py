"""`HNShards`: the labelled images of a label run, by index."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastseg.data.shard_folder import ShardFolder
from fastseg.data.shard_reader import class_names, pair_of
from fastseg.data.shard_schema import ROW_GROUP, Row

GROUPS = 2  # row groups kept: neighbours are often asked for one after the other


class HNShards:
    """The labelled images of `folder/labels/*.parquet` (or `folder/*.parquet`): a `LabelledImages`.

    `self[i]` is (image (H, W, 3) uint8 RGB, label (H, W) uint8), `stats(i)` the rest of the row. Random
    access reads one row group; files open lazily and again in each process. ValueError for a folder
    without shards, shards of different runs, and a row without colour.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = ShardFolder(folder)
        self._ends = np.cumsum(self._folder.rows)
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    @property
    def paths(self) -> list[Path]:
        return self._folder.paths

    @property
    def metadata(self) -> dict[str, Any]:
        return self._folder.metadata

    @property
    def class_names(self) -> list[str]:
        hn = self.metadata.get("hn")
        if hn is None:
            raise ValueError(f"{self.paths[0]} holds no HN-labels; PSSL labels are for `fastseg train pssl`")
        return class_names(hn["n_height"], hn["n_normal"], hn["height_edges"])

    @cached_property
    def _ids(self) -> list[str]:
        return self._folder.ids()

    def ids(self) -> list[str]:
        """Every id in order; the first call reads the id column of every shard."""
        return list(self._ids)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return pair_of(self.row(index))

    def stats(self, index: int) -> Row:
        """Every column of a row but the image and the label."""
        return {key: value for key, value in self.row(index).items() if key not in ("image", "label")}

    def row(self, index: int) -> Row:
        """One row of `SCHEMA` as it is stored; IndexError beyond the last."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} labelled images")
        index %= len(self)
        shard = int(np.searchsorted(self._ends, index, side="right"))
        at = index - int(self._ends[shard]) + self._folder.rows[shard]
        key = (shard, at // ROW_GROUP)
        if key not in self._groups:
            self._groups[key] = self._folder.group(*key)
            while len(self._groups) > GROUPS:
                self._groups.popitem(last=False)
        row: Row = self._groups[key].slice(at % ROW_GROUP, 1).to_pylist()[0]
        return row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}
