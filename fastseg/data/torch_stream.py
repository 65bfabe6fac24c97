"""`HNStream`: a label run as a streaming data set of PyTorch. The order and the reading are `ShardStream`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from fastseg.data.shard_reader import pair_of
from fastseg.data.shard_schema import Row
from fastseg.data.shard_stream import ShardStream


class HNStream(IterableDataset[Any]):
    """What `transform` makes of each row of one epoch; by default (image (H, W, 3), label (H, W)), both uint8.

    A DataLoader gives the same batches in the same order with 0, 1, 2, ... workers, as long as their number divides
    the stream's `lanes` (ValueError otherwise) and its `batch_size` is the stream's `batch`; with another batch_size
    every row still comes once. `start` says which epoch comes next, and from which of its rows.
    """

    def __init__(self, stream: ShardStream, transform: Callable[[Row], Any] = pair_of) -> None:
        super().__init__()
        self.stream, self.transform = stream, transform
        self.epoch, self.position = 0, 0

    def start(self, epoch: int, position: int = 0) -> None:
        """Let the next iteration be of this epoch, without its first `position` rows (whole batches)."""
        self.epoch, self.position = epoch, position

    def __len__(self) -> int:
        """Rows still to come in the epoch."""
        return len(self.stream) - self.position

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        return map(self.transform, self.stream.rows(self.epoch, self.position, worker, workers))
