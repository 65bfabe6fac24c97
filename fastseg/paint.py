"""PSSL labels as pictures: `python -m fastseg.paint --run DIR --out DIR`, one PNG an image."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastseg.data.checks import check_id
from fastseg.data.pssl_shards import PSSLShards, painted
from fastseg.data.shards import replace_file


@dataclass(frozen=True)
class Paint:
    """Write a PNG of every label of a PSSL run, OUT/ID.png.

    run    the folder that make_pssl_labels wrote, or its place in a store
    out    the folder to write
    kind   deciles: grey values 0 to 9; mask: 255 where the decile is 9, else 0
    """

    run: str
    out: Path
    kind: Literal["deciles", "mask"] = "deciles"


def main(config: Paint) -> int:
    """0 once every label is painted; ValueError or OSError names what cannot be read or written."""
    labels = PSSLShards(config.run)
    for index in range(len(labels)):
        row = labels.row(index)
        check_id(row["id"], config.out)
        path = config.out / f"{row['id']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        painted(row, config.kind).save(buffer, "PNG")
        replace_file(path, buffer.getvalue())
    print(f"{len(labels)} pictures in {config.out}")
    return 0


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `python -m fastseg.paint`."""
    from fastseg.cli import run

    return run(Paint, main, argv, prog="python -m fastseg.paint")


if __name__ == "__main__":
    sys.exit(cli())
