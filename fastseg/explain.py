"""Look at a PSSL run: `fastseg explain RUN --out DIR`.

DIR/explain.html, one self-contained page: the run's figures, what was rejected and why, and of some pictures each
classifier's map, the ensemble's, the deciles, and the mask that takes the picture's class. Shards hold deciles alone:
the maps are made again, with the classifiers, settings and noise of the run, and compared with what it wrote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseg.cli import run
from fastseg.data.places import place

if TYPE_CHECKING:
    from fastseg.data.pssl_shards import PSSLShards


@dataclass(frozen=True)
class Explain:
    """Draw pictures of a PSSL run, with the maps behind their labels.

    run      the folder that make_pssl_labels wrote, or its place in a store
    out      the folder for explain.html
    models   the JSON file of the run's classifiers; empty = the one that run.json names
    maps     draw each classifier's map: it takes as long as labelling these pictures did
    ids      pictures to draw; empty = some, evenly over the sorted ids
    images   how many when none is named
    device   cpu, cuda, cuda:1, ...
    threads  of torch on the CPU
    """

    run: str
    out: Path
    models: Path | None = None
    maps: bool = True
    ids: tuple[str, ...] = ()
    images: int = 8
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.images < 1 or self.threads < 1:
            raise ValueError(f"--images and --threads must be at least 1; got {self.images} and {self.threads}")


def main(config: Explain) -> int:
    """0; the page is written."""
    from fastseg.data.pssl_shards import PSSLShards
    from fastseg.data.shards import replace_file
    from fastseg.explain_maps import again, ensemble_of
    from fastseg.explain_page import Drawn, explained

    shards = PSSLShards(config.run)
    about = _about(config.run)
    rows = [shards.row(k) for k in _chosen(shards, config)]
    ensemble = ensemble_of(config, shards, about) if config.maps else None
    drawn = [Drawn(row, None if ensemble is None else again(ensemble, row)) for row in rows]
    page = explained(place(config.run), shards, about, drawn, () if ensemble is None else ensemble.names)
    config.out.mkdir(parents=True, exist_ok=True)
    replace_file(config.out / "explain.html", page.encode("utf-8"))
    print(f"{config.out / 'explain.html'}: {len(drawn)} of {len(shards)} pictures")
    return 0


def _about(folder: str) -> dict[str, Any]:
    """What run.json says; ValueError when it is damaged."""
    path = place(folder) / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("config", {}), dict):
        raise ValueError(f"{path} must hold a JSON object with one under `config`")
    return found


def _chosen(shards: PSSLShards, config: Explain) -> list[int]:
    """Indices of the pictures to draw; ValueError for an id without a label."""
    if not config.ids:
        spread = np.linspace(0, len(shards) - 1, min(config.images, len(shards)))
        return sorted({round(k) for k in spread.tolist()})
    at = {name: k for k, name in enumerate(shards.ids())}
    if lost := [name for name in config.ids if name not in at]:
        raise ValueError(f"{config.run} has no label of {lost[0]!r}; ids are like {next(iter(at))!r}")
    return [at[name] for name in config.ids]


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg explain RUN --out DIR`."""
    return run(Explain, main, argv, positional=("run",), prog="fastseg explain")


if __name__ == "__main__":
    sys.exit(cli())
