"""How many noisy copies a PSSL label needs: what stopping early saves, and how much it changes the label.

python -m benchmarks.pssl_stopping --models models.json --data imagenet [--pictures DIR]

The deciles at every look are compared with those of all copies, and the stopping rule of `Ensemble.label` is replayed
on them. How much the deciles of all copies change with the seed of the noise says what a difference means.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.record import RESULTS, write_result
from benchmarks.timing import one_thread
from fastseg.classifiers import ClassifierAt, open_member, read_classifiers
from fastseg.cli import run
from fastseg.data.class_pictures import Picture, decoded
from fastseg.labels.pssl_config import TOP, PSSLConfig
from fastseg.labels.pssl_gradients import Smoother
from fastseg.labels.pssl_member import prepared
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
RULES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25)


@dataclass(frozen=True)
class Stopping:
    """Options.

    models     a JSON file of classifiers, see fastseg.classifiers
    data       a folder of pictures with labels.tsv (file, class number)
    copies     of each picture
    every      copies between two looks
    again      pictures that are labelled once more with another seed
    limit      pictures
    pictures   where to draw each picture, the models' maps, the deciles and the mask; nowhere by default
    results    where the figures go
    """

    models: Path
    data: Path
    copies: int = 50
    every: int = 5
    again: int = 10
    limit: int = 40
    pictures: Path | None = None
    results: Path = RESULTS


def main(config: Stopping) -> int:
    """Measure, write the figures, draw the pictures."""
    models = read_classifiers(config.models)
    labelled = _pictures(config)
    first, second = (_smoothers(models, seed) for seed in (0, 1))
    looks = [_looks(each, first, config) for each in labelled]
    again = [_looks(each, second, config)[-1] for each in labelled[: config.again]]
    deciles = [np.stack([ensemble_deciles(look[:, None]).deciles[0] for look in found]) for found in looks]
    other = [ensemble_deciles(found[:, None]).deciles[0] for found in again]
    last = [ranks[-1] for ranks in deciles]
    alone = {
        model.name: _differences(last, [decile_rank(np.ascontiguousarray(found[-1, m])) for found in looks])
        for m, model in enumerate(models)
    }
    payload = {
        "models": [model.name for model in models], "pictures": len(labelled), "copies": config.copies,
        "look_every": config.every, "rules": [_rule(deciles, at, config) for at in RULES],
        "looks": [
            {"copies": (n + 1) * config.every} | _differences(last, [ranks[n] for ranks in deciles])
            for n in range(len(deciles[0]) - 1)
        ],
        "another_seed": _differences(last[: config.again], other),
        "one_model_against_all": alone,
    }  # fmt: skip
    print(write_result("pssl_stopping", payload, config.results))
    if config.pictures is not None:
        config.pictures.mkdir(parents=True, exist_ok=True)
        for (name, _, image), found, ranks in zip(labelled, looks, last, strict=True):
            _drawn(image, found[-1], ranks).save(config.pictures / f"{name}.png")
    return 0


def _pictures(config: Stopping) -> list[tuple[str, int, Bytes]]:
    """(name, class number, pixels) of the pictures in labels.tsv, large enough for every model."""
    with (config.data / "labels.tsv").open() as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:][: config.limit]
    return [
        (Path(name).stem, int(number), decoded(Picture((config.data / name).read_bytes(), int(number), name), 260))
        for name, number in rows
    ]


def _smoothers(models: Sequence[ClassifierAt], seed: int) -> list[Smoother]:
    """What adds up each model's maps."""
    pssl, names = PSSLConfig(), [str(i) for i in range(1000)]
    settings = (pssl.sigma, pssl.target, seed, pssl.memory_mb, pssl.most("cpu"))
    return [Smoother(prepared(open_member(m, names), "cpu", torch.float32), *settings) for m in models]


def _looks(labelled: tuple[str, int, Bytes], smoothers: Sequence[Smoother], config: Stopping) -> Float:
    """The models' maps (looks, models, 224, 224) after each look."""
    name, number, image = labelled
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    found = []
    for smoother in smoothers:
        each = []
        for start in range(0, config.copies, config.every):
            maps = smoother.sums(pixels, [number], [name], range(start, start + config.every)).maps
            if maps.shape[-1] != 224:
                maps = torch.nn.functional.interpolate(maps[:, None], (224, 224), mode="bilinear", antialias=True)[:, 0]
            each.append(maps[0].numpy())
        found.append(np.cumsum(each, axis=0, dtype=np.float32))
    print(name, flush=True)
    return np.ascontiguousarray(np.stack(found, 1))


def _rule(deciles: list[Bytes], stop_at: float, config: Stopping) -> dict[str, float]:
    """What stopping at that share of changed deciles would have done to each picture."""
    stops = []
    for ranks in deciles:
        changed = [(after != before).mean() for before, after in pairwise(ranks)]
        stops.append(next((n + 1 for n, share in enumerate(changed) if share <= stop_at), len(ranks) - 1))
    copies = (np.array(stops) + 1) * config.every
    saved = {"stop_at": stop_at, "mean_copies": float(copies.mean()), "saved": float(1 - copies.mean() / config.copies)}
    pairs = zip(deciles, stops, strict=True)
    return saved | _differences([r[-1] for r in deciles], [ranks[stop] for ranks, stop in pairs])


def _differences(one: list[Bytes], two: list[Bytes]) -> dict[str, float]:
    """How far deciles are apart: the share that differs, by more than one too, and the IoU of the two masks; means."""
    apart = [np.abs(a.astype(int) - b) for a, b in zip(one, two, strict=True)]
    iou = [((a == TOP) & (b == TOP)).sum() / ((a == TOP) | (b == TOP)).sum() for a, b in zip(one, two, strict=True)]
    return {
        "changed_deciles": float(np.mean([(a > 0).mean() for a in apart])),
        "changed_by_more_than_one": float(np.mean([(a > 1).mean() for a in apart])),
        "mask_iou": float(np.mean(iou)),
    }


def _drawn(image: Bytes, maps: Float, deciles: Bytes) -> Image.Image:
    """Side by side: the picture, each model's map, the deciles, the mask over the picture."""
    picture = np.asarray(Image.fromarray(image).resize((224, 224)))
    grey = [np.sqrt(one / one.max()) for one in maps] + [deciles / 9]
    panels = [picture, *(np.repeat((255 * one).astype(np.uint8)[..., None], 3, 2) for one in grey)]
    panels.append(np.where((deciles == TOP)[..., None], np.array([255, 0, 0], np.uint8), picture // 2))
    return Image.fromarray(np.concatenate(panels, 1))


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Stopping, main))
