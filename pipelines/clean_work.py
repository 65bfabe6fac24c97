"""What a worker does to clean labels. Apart from the program: workers cannot import `__main__`, and load torch late."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastseg.data.label_maps import open_run
from fastseg.data.pssl_shards import deciles_of
from fastseg.data.shards import HNShards, Row, label_of
from fastseg.labels.pssl_config import TOP, class_map, packed
from pipelines.one_shard import Clock

if TYPE_CHECKING:
    from fastseg.nets.label_autoencoder import LabelAutoencoder


@dataclass(frozen=True)
class CleanRow:
    """The work of one label: id -> its row in the label run at `run`, cleaned; see `label_autoencoder.cleaned`.

    Of a PSSL label, top-decile pixels can only leave the top decile: a tenth of its pixels are in it, and no more.
    """

    run: str
    autoencoder: str
    doubt: float
    void: bool

    def __call__(self, frame_id: str, clock: Clock) -> Row:
        shards, places = opened(self.run)
        with clock("read"):
            row = shards.row(places[frame_id])
        with clock("clean"):
            return self._pssl(row, len(shards.class_names) - 1) if "deciles" in row else self._hn(row)

    def _hn(self, row: Row) -> Row:
        found = self._cleaned(label_of(row))
        bins = np.bincount(found.ravel(), minlength=256)[: len(row["bins"])]
        return {**row, "label": found.tobytes(), "bins": bins.tolist()}

    def _pssl(self, row: Row, background: int) -> Row:
        deciles = deciles_of(row)
        found = self._cleaned(class_map(deciles, row["class"], background).astype(np.uint8))
        left = (deciles == TOP) & (found != row["class"])
        return {**row, "deciles": packed(np.where(left, np.uint8(TOP - 1), deciles))}

    def _cleaned(self, label: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        import torch

        from fastseg.nets.label_autoencoder import cleaned

        net, size = autoencoder(self.autoencoder)
        found = cleaned(net, torch.from_numpy(label.copy())[None], size, self.doubt, self.void)
        return np.asarray(found[0].numpy())


@lru_cache(maxsize=1)
def opened(run: str) -> tuple[HNShards, dict[str, int]]:
    """The label run, and where in it each id lies; opened once in each process."""
    shards = open_run(run)
    return shards, {name: index for index, name in enumerate(shards.ids())}


@lru_cache(maxsize=1)
def autoencoder(name: str) -> tuple[LabelAutoencoder, tuple[int, int]]:
    """The label autoencoder of a run of `fastseg train label-autoencoder`, and the size of the maps that it learned."""
    from fastseg.checkpoint import load
    from fastseg.inference import restored
    from fastseg.nets.label_autoencoder import LabelAutoencoder

    found = load(Path(name))
    net = restored(found)
    if not isinstance(net, LabelAutoencoder):
        raise ValueError(f"{found.path} is of train {found.record.method}, and a label-autoencoder's run was expected")
    return net, found.record.size
