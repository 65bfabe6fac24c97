"""Rows of a label run in a shuffled order that is a function of (seed, epoch, index): for ranks and workers, resumable.

Reading is in whole row groups, close together: an epoch permutes the shards; the row groups of `MIX` neighbouring
shards are permuted among themselves; a rank takes a slice of what comes of that. The slice is cut into lanes, whose
rows are permuted within windows. Batch i is of lane i % lanes, so that any number of workers that divides the lanes
gives the same batches in the same order, each worker reading only its own lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.data.shard_folder import ShardFolder
from fastseg.data.shard_schema import ROW_GROUP, Row

MIX = 16  # shards open together: a window draws from as many places of the corpus
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StreamOrder:
    """All that decides the order, beside the shards themselves.

    seed    of every permutation
    batch   rows a batch, the DataLoader's batch_size
    window  rows of a rank that are in memory to be drawn from, over all lanes
    lanes   a multiple of the number of workers; another number of lanes is another order
    rank    this process of `ranks`; each gets its own rows, every row goes to one rank
    equal   every rank gets ceil(rows / ranks) rows: the first ones of the epoch are given a second time to the last
            rank (less than `ranks` of them); otherwise ranks may differ by one row
    """

    seed: int = 0
    batch: int = 1
    window: int = 512
    lanes: int = 4
    rank: int = 0
    ranks: int = 1
    equal: bool = False

    def __post_init__(self) -> None:
        if min(self.batch, self.window, self.lanes, self.ranks) < 1 or not 0 <= self.rank < self.ranks:
            raise ValueError(f"batch, window, lanes and ranks must be at least 1 and rank below ranks; got {self}")

    def share(self, rows: int) -> Places:
        """Positions of this rank's rows in the epoch's order of all rows."""
        if self.equal:
            each = -(-rows // self.ranks)
            return (self.rank * each + np.arange(each)) % rows
        return np.arange(rows * self.rank // self.ranks, rows * (self.rank + 1) // self.ranks)

    def lane_sizes(self, rows: int) -> Places:
        """Rows of each lane: its batches, the last of which may not be full."""
        batches = np.arange(-(-rows // self.batch))
        sizes = np.minimum(self.batch, rows - batches * self.batch)
        return np.bincount(batches % self.lanes, sizes, self.lanes).astype(np.int64)


class ShardStream:
    """The labelled rows of a folder of shards (see `ShardFolder`), epoch by epoch, in a shuffled order."""

    def __init__(self, folder: str | Path, order: StreamOrder | None = None) -> None:
        self.folder = ShardFolder(folder)
        self.order = order or StreamOrder()
        if not sum(self.folder.rows):
            raise ValueError(f"the shards beside {self.folder.paths[0]} hold no rows")

    def __len__(self) -> int:
        """Rows of this rank in an epoch."""
        return len(self.order.share(sum(self.folder.rows)))

    def places(self, epoch: int) -> Places:
        """(shard, row in it) of every row of this rank in the epoch's order, (N, 2)."""
        lanes = self._lanes(epoch)
        position = np.arange(sum(map(len, lanes)))
        batch, at = np.divmod(position, self.order.batch)
        starts = np.cumsum([0, *map(len, lanes)])
        inside = batch // self.order.lanes * self.order.batch + at
        found: Places = np.concatenate(lanes)[starts[batch % self.order.lanes] + inside]
        return found

    def rows(self, epoch: int = 0, position: int = 0, worker: int = 0, workers: int = 1) -> Iterator[Row]:
        """The rows of this rank's batches position / batch + worker + n * workers of an epoch, in order.

        position  rows of the rank that were had already: a whole number of batches, or all of them

        ValueError for another position or number of workers, and for a damaged shard.
        """
        batch, lanes = self.order.batch, self.order.lanes
        if workers < 1 or lanes % workers or not 0 <= worker < workers:
            raise ValueError(f"{lanes} lanes cannot be shared by {workers} workers; give a number that divides them")
        if not 0 <= position <= len(self) or (position % batch and position != len(self)):
            raise ValueError(f"position must be a multiple of {batch}, at most {len(self)}; got {position}")
        return self._rows(epoch, -(-position // batch) + worker, workers)

    def _rows(self, epoch: int, first: int, step: int) -> Iterator[Row]:
        lanes, batch = self._lanes(epoch), self.order.batch
        readers: dict[int, Iterator[Row]] = {}
        for number in count(first, step):
            turn, lane = divmod(number, self.order.lanes)
            size = min(batch, len(lanes[lane]) - turn * batch)
            if size <= 0:
                return
            if lane not in readers:
                readers[lane] = self._read(lanes[lane], turn * batch)
            for _ in range(size):
                yield next(readers[lane])

    def _read(self, places: Places, start: int) -> Iterator[Row]:
        """The rows at these places from `start` on, a window in memory at a time."""
        window = self._window()
        for first in range(start // window * window, len(places), window):
            wanted = places[max(first, start) : first + window]
            rows: list[Row] = [{}] * len(wanted)
            groups, member = np.unique(wanted // (1, ROW_GROUP), axis=0, return_inverse=True)
            for number, (shard, group) in enumerate(groups.tolist()):
                chosen = np.flatnonzero(member.ravel() == number)
                found = self.folder.group(shard, group).take(wanted[chosen, 1] % ROW_GROUP).to_pylist()
                for index, row in zip(chosen.tolist(), found, strict=True):
                    rows[index] = row
            for index in range(len(rows)):
                yield rows[index]
                rows[index] = {}  # its memory goes with the reader of the row

    def _window(self) -> int:
        """Rows of a lane that are in memory together."""
        return max(1, self.order.window // self.order.lanes)

    def _lanes(self, epoch: int) -> list[Places]:
        """(shard, row) of each lane's rows, shuffled within windows."""
        order = self.order
        share = self._permuted(epoch)[order.share(sum(self.folder.rows))]
        lanes = np.split(share, np.cumsum(order.lane_sizes(len(share)))[:-1])
        for lane, places in enumerate(lanes):
            random = np.random.default_rng((order.seed, epoch, 1, order.rank, lane))
            lanes[lane] = places[np.lexsort((random.random(len(places)), np.arange(len(places)) // self._window()))]
        return lanes

    def _permuted(self, epoch: int) -> Places:
        """(shard, row) of all rows: shards permuted, and the row groups of `MIX` neighbours among themselves."""
        random = np.random.default_rng((self.order.seed, epoch, 0))
        rows = np.asarray(self.folder.rows)
        groups = -(-rows // ROW_GROUP)
        shard = np.repeat(np.arange(len(rows)), groups)
        first = (np.arange(len(shard)) - np.repeat(np.cumsum(groups) - groups, groups)) * ROW_GROUP
        bundle = random.permutation(len(rows)) // MIX
        chosen = np.lexsort((random.random(len(shard)), bundle[shard]))
        shard, first = shard[chosen], first[chosen]
        sizes = np.minimum(ROW_GROUP, rows[shard] - first)
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.stack([np.repeat(shard, sizes), np.repeat(first, sizes) + inside], 1)
