"""Do several classifiers point better than one: PSSL's maps against the known masks of procedural objects.

python -m benchmarks.pssl_pointing

Small classifiers learn pictures of one object each (benchmarks.objects), from random weights; on others, which they
have not seen, each map is compared with the object's mask, for every choice of 1, 2, ... of the classifiers:
    pointing     whether the greatest score lies on the object
    top decile   share of the pixels of decile 9 that lie on the object: what PSSL trains on
    mask iou     of the mask with as many of the highest pixels as it has
    auc          chance that a pixel of the object scores higher than one beside it
A gradient without noise, and a map that falls off from the picture's middle, say what that is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch.nn import functional

from benchmarks.objects import CLASSES, draw
from benchmarks.record import RESULTS, write_result
from benchmarks.timing import one_thread
from fastseg.cli import run
from fastseg.frames import FrameError
from fastseg.labels.pssl import Ensemble
from fastseg.labels.pssl_config import TOP, PSSLConfig
from fastseg.labels.pssl_member import Member
from fastseg.ops.decile_rank import decile_rank

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
SCORES = ("pointing", "top_decile", "mask_iou", "auc")
GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Pointing:
    """Options.

    nets      timm's names of the classifiers
    steps     each is trained for
    batch     pictures a step
    lr        greatest learning rate of AdamW, which falls as a cosine
    train     pictures to train on
    test      pictures to explain
    size      pixels of a side
    copies    noisy copies of each
    results   where the figures go
    """

    nets: tuple[str, ...] = ("resnet10t", "regnetx_002", "regnety_002", "mobilenetv3_small_100")
    steps: int = 500
    batch: int = 64
    lr: float = 2e-3
    train: int = 4000
    test: int = 120
    size: int = 64
    copies: int = 50
    results: Path = RESULTS


def pictures(where: int, count: int, size: int) -> tuple[Bytes, Bytes, npt.NDArray[np.int64]]:
    """Pictures (count, S, S, 3), masks (count, S, S) and classes (count,) of one object each."""
    made = [draw((7, where, i), [i % len(CLASSES)], size) for i in range(count)]
    return np.stack([p for p, _ in made]), np.stack([m > 0 for _, m in made]), np.arange(count) % len(CLASSES)


def trained(name: str, images: Bytes, classes: npt.NDArray[np.int64], config: Pointing, seed: int) -> Member:
    """The classifier, as a member of an ensemble."""
    torch.manual_seed(seed)
    net = timm.create_model(name, num_classes=len(CLASSES)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=0.05)
    warm = max(1, config.steps // 10)
    for step in range(config.steps):
        rng = np.random.default_rng([seed, step])
        some = rng.integers(0, len(images), config.batch)
        inputs = _inputs(images[some])
        inputs = inputs.flip(3) if rng.integers(2) else inputs
        share = min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / config.steps)))
        optimiser.param_groups[0]["lr"] = config.lr * share
        loss = functional.cross_entropy(net(inputs), torch.from_numpy(classes[some]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return Member(name, net.eval(), GREY, GREY, config.size)


def _inputs(images: Bytes) -> torch.Tensor:
    found = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return found.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def accuracy(member: Member, images: Bytes, classes: npt.NDArray[np.int64]) -> float:
    """The share of pictures that it names rightly."""
    found = [member.net(_inputs(images[i : i + 64])).argmax(1).numpy() for i in range(0, len(images), 64)]
    return float((np.concatenate(found) == classes).mean())


def maps_of(members: Sequence[Member], images: Bytes, classes: Sequence[int], pssl: PSSLConfig) -> Float:
    """Each model's normalised map of each picture (N, M, S, S); AssertionError for a picture without."""
    ensemble, found = Ensemble(members, pssl), []
    for start in range(0, len(images), 8):
        some = range(start, min(start + 8, len(images)))
        labels = ensemble.label(
            images[some.start : some.stop], [classes[i] for i in some], [str(i) for i in some], True
        )
        for label in labels:
            assert not isinstance(label, FrameError) and label.maps is not None, str(label)
            low, high = label.maps.min((1, 2), keepdims=True), label.maps.max((1, 2), keepdims=True)
            found.append((label.maps - low) / np.maximum(high - low, 1e-30))
        print(f"explained {some.stop} of {len(images)}", flush=True)
    return np.stack(found)


def scores(score: Float, mask: Bytes) -> tuple[float, ...]:
    """SCORES of a map (S, S) against a mask (S, S)."""
    inside = mask.astype(bool)
    flat, own = score.ravel(), inside.ravel()
    order = np.argsort(-flat, kind="stable")
    hits = own[order[: own.sum()]].sum()
    top = decile_rank(np.ascontiguousarray(score)) == TOP
    above = np.cumsum(own[order])[~own[order]].sum() / (own.sum() * (~own).sum())
    return float(own[order[0]]), float(inside[top].mean()), float(hits / (2 * own.sum() - hits)), float(above)


def compared(maps: Float, masks: Bytes) -> list[dict[str, Any]]:
    """For each number of models the mean scores over all choices of so many, and the choices' own."""
    rows = []
    for count in range(1, maps.shape[1] + 1):
        choices = list(combinations(range(maps.shape[1]), count))
        found = np.array([[scores(m[list(c)].mean(0), k) for m, k in zip(maps, masks, strict=True)] for c in choices])
        each = [dict(zip(SCORES, one, strict=True)) for one in found.mean(1).tolist()]
        mean = dict(zip(SCORES, found.mean((0, 1)).tolist(), strict=True))
        rows.append({"models": count, "mean": mean, "choices": [list(c) for c in choices], "each": each})
    return rows


def gain(maps: Float, masks: Bytes) -> dict[str, dict[str, float]]:
    """All models' scores less the mean of each alone, picture by picture: mean and its standard error."""
    pairs = list(zip(maps, masks, strict=True))
    whole = np.array([scores(m.mean(0), mask) for m, mask in pairs])
    alone = np.array([[scores(one, mask) for one in m] for m, mask in pairs]).mean(1)
    apart = whole - alone
    error = apart.std(0, ddof=1) / math.sqrt(len(apart))
    return {
        name: {"mean": float(m), "error": float(e)} for name, m, e in zip(SCORES, apart.mean(0), error, strict=True)
    }


def main(config: Pointing) -> int:
    """0 after writing the figures; prints them."""
    images, _, classes = pictures(0, config.train, config.size)
    members = [trained(name, images, classes, config, seed) for seed, name in enumerate(config.nets)]
    images, masks, classes = pictures(1, config.test, config.size)
    right = {member.name: accuracy(member, images, classes) for member in members}
    print(right, flush=True)
    pssl = PSSLConfig(samples=config.copies, size=config.size)
    numbers = [int(c) for c in classes]
    maps = maps_of(members, images, numbers, pssl)
    plain = maps_of(members, images, numbers, replace(pssl, samples=1, sigma=0.0))
    at = np.abs(np.linspace(-1, 1, config.size, dtype=np.float32))
    middle = np.repeat(-np.hypot(at[:, None], at)[None, None], len(masks), 0)
    found = compared(maps, masks)
    payload = {
        "nets": list(config.nets), "steps": config.steps, "pictures": config.test, "copies": config.copies,
        "top1": right, "object_share": float(masks.mean()), "smoothgrad": found,
        "all_against_one": gain(maps, masks), "gradient": compared(plain, masks),
        "middle": compared(middle, masks)[0]["mean"],
    }  # fmt: skip
    for row in found:
        print(row["models"], {name: round(value, 4) for name, value in row["mean"].items()})
    print(write_result("pssl_pointing", payload, config.results))
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Pointing, main))
