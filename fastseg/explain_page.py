"""The page of `fastseg explain`: figures of a PSSL run, its rejections, and pictures from class to mask."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastseg.charts import histogram
from fastseg.data.class_pictures import Picture, decoded
from fastseg.data.pssl_shards import PSSLShards, deciles_of
from fastseg.data.shard_reader import read_columns
from fastseg.data.shards import REJECTED_SCHEMA
from fastseg.labels.pssl import PSSLLabel
from fastseg.labels.pssl_config import TOP
from fastseg.pictures import heat_picture
from fastseg.report import Markup, facts, note, page, picture, section, table, tag

LISTED = 300  # rejected pictures listed by name; the rest are counted
FIGURES = ("class", "samples", "changed", "probability", "right")
MARK = np.array([232, 90, 60])  # what lies over the pixels of the mask
HOW = (
    "A classifier's map is the SmoothGrad of its probability of the picture's class: light where a small change of the "
    "pixel changes it most. Maps are drawn as square roots, each from its least to its greatest value. The ensemble is "
    "the mean of the maps brought to 0..1; a pixel's decile counts the pixels below it, in tenths. The pixels of the "
    "highest decile take the class, all others are background: a tenth of every picture, whatever the object's "
    "size."
)


@dataclass(frozen=True)
class Drawn:
    """A picture of the run: its row, and its label made again with the maps where that was asked for."""

    row: Mapping[str, Any]
    again: PSSLLabel | None


def explained(
    folder: Path, shards: PSSLShards, about: Mapping[str, Any], drawn: Sequence[Drawn], models: Sequence[str]
) -> str:
    """The whole page."""
    of_run = shards.metadata["pssl"]
    figures = pa.concat_tables(read_columns(path, FIGURES) for path in shards.paths)
    rejected = _rejected_rows(folder)
    asked = [[name] for name in of_run["models"]]
    return page(
        f"PSSL labels: {folder.name}",
        tag("h1", f"PSSL labels of {folder.name or folder}"),
        note(folder.absolute()),
        facts(_facts(shards, figures, rejected)),
        section("Figures of the labelled pictures", _charts(figures)),
        section("Classifiers", table(["name"], asked)),
        section(f"Pictures ({len(drawn)} of {len(shards)})", note(HOW), *_cards(drawn, of_run["classes"], models)),
        section(f"Rejected pictures ({len(rejected)})", *_rejected(rejected)),
        section("Run", tag("pre", json.dumps(about, indent=2, ensure_ascii=False))),
    )


def _facts(shards: PSSLShards, figures: pa.Table, rejected: Sequence[object]) -> list[tuple[str, object]]:
    of_run = shards.metadata["pssl"]
    copies = np.asarray(figures["samples"].combine_chunks(), np.float64)
    return [
        ("pictures", f"{len(shards) + len(rejected):,}"),
        ("labelled", f"{len(shards):,}"),
        ("rejected", f"{len(rejected):,} ({len(rejected) / max(len(shards) + len(rejected), 1):.0%})"),
        ("classes", f"{len(set(figures['class'].to_pylist())):,} of {len(of_run['classes']):,}"),
        ("classifiers", len(of_run["models"])),
        ("copies, mean", f"{copies.mean():.1f} of {of_run['samples']}"),
        ("fingerprint", tag("code", str(shards.metadata.get("fingerprint", "none"))[:12])),
    ]


def _charts(figures: pa.Table) -> Markup:
    charts = [
        histogram(100 * _column(figures, "probability"), "probability of the class", " %"),
        histogram(100 * _column(figures, "right"), "copies named rightly", " %"),
    ]
    changed = _column(figures, "changed")
    if np.isfinite(changed).any():
        charts.append(histogram(_column(figures, "samples"), "noisy copies"))
        charts.append(histogram(100 * changed, "deciles changed at the last look", " %"))
    return tag("div", *(tag("div", chart, class_="card") for chart in charts), class_="grid fives")


def _column(figures: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(figures[name].combine_chunks(), np.float64)


def _cards(drawn: Sequence[Drawn], classes: Sequence[str], models: Sequence[str]) -> list[Markup]:
    return [_card(each, classes[each.row["class"]], models) for each in drawn]


def _card(drawn: Drawn, class_name: str, models: Sequence[str]) -> Markup:
    """One picture from left to right: itself, maps, ensemble, deciles, mask."""
    row, deciles = drawn.row, deciles_of(drawn.row)
    shown: list[Markup] = []
    image = None
    if row["image"] is not None:
        image = decoded(Picture(row["image"], row["class"], repr(row["id"])), len(deciles))
        shown.append(picture(image, "picture", kind="jpeg"))
    if drawn.again is not None and drawn.again.maps is not None:
        named = zip(models, drawn.again.maps, strict=True)
        shown += [picture(_heat(one), name, kind="jpeg") for name, one in named]
        shown.append(picture(_heat(drawn.again.mean), "ensemble", kind="jpeg"))
    shown.append(picture(heat_picture(deciles / TOP), "deciles"))
    mask = deciles == TOP
    shown.append(picture(_marked(image, mask), f"{class_name}: {mask.mean():.1%} of the pixels"))
    strip = tag("div", *shown, class_="strip")
    return tag("div", tag("h3", row["id"]), strip, note(_sentence(drawn, deciles)), class_="card")


def _heat(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    low, high = float(scores.min()), float(scores.max())
    return heat_picture(np.sqrt((scores - low) / max(high - low, 1e-30)))


def _marked(image: npt.NDArray[np.uint8] | None, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The mask over the grey of the picture, or alone."""
    if image is None:
        return np.where(mask[..., None], MARK, 40).astype(np.uint8)
    grey = image.mean(2, keepdims=True)
    return np.where(mask[..., None], 0.5 * MARK + 0.5 * image, 0.6 * grey + 30).astype(np.uint8)


def _sentence(drawn: Drawn, deciles: npt.NDArray[np.uint8]) -> str:
    row = drawn.row
    parts = [
        f"probability of the class {row['probability']:.1%}, named rightly in {row['right']:.0%} of the copies",
        f"{row['samples']} copies a classifier",
    ]
    if np.isfinite(row["changed"]):
        parts.append(f"{row['changed']:.1%} of the deciles changed at the last look")
    if drawn.again is not None:
        same = float((drawn.again.deciles == deciles).mean())
        parts.append(f"made again, {same:.2%} of the deciles are the run's")
    return "; ".join(parts)


def _rejected_rows(folder: Path) -> list[dict[str, Any]]:
    """Rejected pictures (id, reason, detail, value), sorted by reason and id."""
    paths = sorted((folder / "rejected").glob("*.parquet"))
    rows = [row for path in paths for row in read_columns(path, REJECTED_SCHEMA.names).to_pylist()]
    return sorted(rows, key=lambda row: (row["reason"], row["id"]))


def _rejected(rows: Sequence[Mapping[str, Any]]) -> list[Markup]:
    if not rows:
        return [note("None.")]
    counts = Counter(str(row["reason"]) for row in rows)
    shares = [[reason, f"{n:,}", f"{n / len(rows):.0%}"] for reason, n in counts.most_common()]
    named = [[row["id"], row["reason"], row["detail"]] for row in rows[:LISTED]]
    rest = [note(f"{len(rows) - LISTED:,} more are in the run's folder `rejected`.")] if len(rows) > LISTED else []
    by_reason = table(["reason", "pictures", "share"], shares, numeric=(1, 2))
    return [by_reason, table(["picture", "reason", "detail"], named), *rest]
