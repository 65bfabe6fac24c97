"""How long PSSL labels of ImageNet would take: `python -m benchmarks.pssl_projection --pictures DIR`.

1,281,167 images x 15 classifiers x 50 copies = 961 million passes, a pass being one copy forward and back to the image.
measured     here: the rate of a pass on one thread (the newest benchmarks.pssl_rate), the decoding of the pictures in
             DIR, some of ImageNet's; on a GPU what benchmarks.device measured of passes, if it did
arithmetic   everything else: the operations of fifteen published classifiers, counted and not run, over the rate of a
             GPU's data sheet times a share of it that is assumed, unless it was measured; days of threads
The sampling rule that stops early is left out of it: it saves little (benchmarks.pssl_stopping).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, write_result
from benchmarks.timing import interleaved, one_thread
from fastseg.cli import run

IMAGES, COPIES = 1_281_167, 50
# Fifteen published ImageNet classifiers of timm, the spread of families that the paper speaks of; it lists none.
ENSEMBLE = (
    "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2", "seresnet50", "resnest50d",
    "densenet121", "densenet169", "vgg16", "mobilenetv2_100", "efficientnet_b0", "regnety_032", "inception_v3",
    "hrnet_w18",
)  # fmt: skip
H200_TFLOPS = 989.5  # bf16 with float32 sums, dense, of NVIDIA's data sheet
SHARES = (1.0, 0.4, 0.2)  # of that: the floor, and what well and badly fed convolutions are assumed to reach
GPUS = (1, 8)


@dataclass(frozen=True)
class Projection:
    """Options.

    pictures  a folder of JPEG files, whose decoding is timed
    results   where figures are read and written
    """

    pictures: Path
    results: Path = RESULTS


def gflops(name: str) -> float:
    """GFLOP of a pass at 224 x 224, forward and back to the image: counted on a network without memory, not run."""
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        timm.create_model(name).eval()(torch.empty(1, 3, 224, 224))
    return 2 * float(counter.get_total_flops()) / 1e9


def decode_ms(folder: Path) -> tuple[float, int]:
    """Milliseconds in which one thread decodes a JPEG of the folder and brings it to 224 x 224, and how many there are.

    The mean over the files, of each the least of five. ValueError: there is none.
    """
    from fastseg.data.class_pictures import Picture, decoded

    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise ValueError(f"{folder} holds no JPEG files")
    times = []
    for path in files:
        picture = Picture(path.read_bytes(), 0, path.name)
        times.append(interleaved({"decode": partial(decoded, picture, 224)}, 5)["decode"].min_ms)
    return float(np.mean(times)), len(files)


def on_gpus(tflop: float, share: float, decode: float) -> list[dict[str, float]]:
    """For each of GPUS: hours, and the processor's cores that decode fast enough, at a share of the data sheet."""
    a_second = share * H200_TFLOPS / tflop  # pictures, on one GPU
    return [
        {"gpus": n, "share": share, "hours": IMAGES / (n * a_second) / 3600, "cores": n * a_second * decode / 1e3}
        for n in GPUS
    ]


def newest(folder: Path, pattern: str) -> Mapping[str, Any]:
    """The newest result of a pattern; empty when there is none."""
    found = sorted(folder.glob(pattern))
    return json.loads(found[-1].read_text("utf-8")) if found else {}


def shares_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Of each network that was run on a GPU, the share of the data sheet's rate that its best passes reached."""
    best: dict[str, float] = {}
    for row in record.get("rows", ()):
        rate = row["extra"].get("tflop_s")
        if rate and not row["impl"].startswith("captum"):
            best[row["case"]] = max(best.get(row["case"], 0.0), rate / H200_TFLOPS)
    return best


def on_threads(record: Mapping[str, Any], total_gflop: float) -> dict[str, Any]:
    """Of each network timed here: passes a second, GFLOP a second, and days of one thread for the ensemble at those."""
    found = {}
    for row in record.get("rows", ()):
        if row["impl"] == "fastseg":
            rate = row["extra"]["passes_per_s"]
            speed = row["extra"]["floor_share"] * record["product_gflops"]
            days = total_gflop / speed / 86_400
            found[row["case"]] = {"passes_per_s": rate, "gflop_s": speed, "thread_days_for_all": days}
    return found


def projected(config: Projection) -> dict[str, Any]:
    """All figures."""
    each = {name: gflops(name) for name in ENSEMBLE}
    tflop = COPIES * sum(each.values()) / 1e3
    decode, pictures = decode_ms(config.pictures)
    measured = shares_of(newest(config.results, "device-pssl-20*.json"))
    shares = (*SHARES, *({sum(measured.values()) / len(measured)} if measured else ()))
    return {
        "images": IMAGES, "models": len(ENSEMBLE), "copies": COPIES, "passes": IMAGES * len(ENSEMBLE) * COPIES,
        "gflop_a_pass": each, "tflop_a_picture": tflop, "exaflop": tflop * IMAGES / 1e6,
        "measured": {
            "decode_ms": decode, "pictures_decoded": pictures,
            "one_thread": on_threads(newest(config.results, "pssl_rate-20*.json"), tflop * IMAGES * 1e3),
            "gpu_shares": measured or "not run on a GPU",
        },
        "arithmetic": {
            "h200_bf16_tflop_s": H200_TFLOPS,
            "gpu": [row for share in shares for row in on_gpus(tflop, share, decode)],
        },
    }  # fmt: skip


def lines(found: Mapping[str, Any]) -> list[str]:
    """The projection in words, each line with what it rests on."""
    told = [
        f"{found['passes'] / 1e6:.0f} million passes, {found['tflop_a_picture']:.1f} TFLOP a picture, "
        f"{found['exaflop']:.1f} EFLOP in all (counted)",
        f"decoding: {found['measured']['decode_ms']:.1f} ms a picture on one thread (measured on "
        f"{found['measured']['pictures_decoded']} pictures)",
    ]
    for row in found["arithmetic"]["gpu"]:
        told.append(
            f"{row['gpus']} H200 at {row['share']:.0%} of their bf16 rate: {row['hours']:.1f} h, "
            f"{row['cores']:.1f} cores to decode (arithmetic; {_basis(found)})"
        )
    for name, row in found["measured"]["one_thread"].items():
        told.append(
            f"one thread here, {name}: {row['passes_per_s']:.1f} passes/s (measured); the ensemble at its "
            f"{row['gflop_s']:.0f} GFLOP/s: {row['thread_days_for_all'] / 365:.0f} years of a thread (arithmetic)"
        )
    return told


def _basis(found: Mapping[str, Any]) -> str:
    return "not run on a GPU" if isinstance(found["measured"]["gpu_shares"], str) else "the last share is measured"


def main(config: Projection) -> int:
    """0 after printing and writing the figures."""
    found = projected(config)
    for line in lines(found):
        print(line)
    print(write_result("pssl_projection", found, config.results))
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Projection, main))
