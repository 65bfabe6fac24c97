"""Several label runs as one set of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.data.hn_shards import HNShards
from fastseg.data.places import answered, place
from fastseg.frames import LabelledImages


def open_runs(root: Path | str) -> LabelledImages:
    """The label run at `root`, or all label runs in folders of `root`, one after the other in order of their names.

    ValueError: no label shards there, or runs of different bins.
    """
    folder = place(root)
    with answered(folder):
        own = (folder / "labels").is_dir() or any(folder.glob("*.parquet"))
        parts = [] if own else sorted(each for each in folder.glob("*") if (each / "labels").is_dir())
    return Joined([HNShards(str(part)) for part in parts]) if parts else HNShards(root)


class Joined:
    """LabelledImages over label runs of the same classes, one after the other."""

    def __init__(self, parts: Sequence[LabelledImages]) -> None:
        self.parts = parts
        self.class_names = list(parts[0].class_names)
        for part in parts[1:]:
            if list(part.class_names) != self.class_names:
                raise ValueError("the label runs have different bins; label the corpora with the same settings")
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        own = [getattr(part, "metadata", {}).get("fingerprint", "") for part in parts]
        self.metadata: dict[str, Any] = {"fingerprint": "+".join(own)}

    def ids(self) -> list[str]:
        return [name for part in self.parts for name in part.ids()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} labelled images")
        part = int(np.searchsorted(self._starts, index % len(self), "right")) - 1
        return self.parts[part][index % len(self) - int(self._starts[part])]
