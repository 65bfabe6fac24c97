"""Look inside a gated network: `python -m fastseg.gates CHECKPOINT --data D --root R --out DIR`.

DIR/gates.json: for every pass its scores, the shares of its gates, how often its depth bin is right, its depth errors,
and the classes' IoU by distance. DIR/gates.html, one self-contained page: depth bins, gate maps, the prediction of
every pass and what changed from one to the next.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import Checkpoint
from fastseg.cli import run
from fastseg.data.sources import Labelled
from fastseg.frames import LabelledFrames, LabelledImages
from fastseg.tensors import Module, Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Gates:
    """Score every pass of a gated network and draw what its gates do.

    checkpoint  a checkpoint folder, or a run's folder (its last good one)
    data        the data set; depth beside it is compared with what the network predicts, and sorts pixels by distance
    root        where it lies: a folder, or a place in a store
    out         the folder to write
    split       of the data set
    size        HEIGHTxWIDTH that the network sees, empty = as in training
    loops       recurrent passes after the first, any number; None = as it was trained
    smooth      sigma of a Gaussian over predicted depth, in its own pixels (an eighth of the image's); 0 = none
    images      how many are drawn
    device      cpu, cuda, cuda:1, ...; auto = cuda where there is one
    threads     of torch on the CPU, 0 = torch's own choice
    """

    checkpoint: Path
    data: Labelled
    root: str
    out: Path
    split: str = "val"
    size: str = ""
    loops: int | None = None
    smooth: float = 0.0
    images: int = 6
    device: str = "auto"
    threads: int = 0


class Seen(NamedTuple):
    """One pass over one image: classes (H, W), gate (B, h, w), and where they are predicted bins (h, w), depth (H, W).

    depth is in metres, of the label's size.
    """

    classes: Array
    gate: Array
    bins: Array | None
    depth: Array | None


class Truth(NamedTuple):
    """One image (H, W, 3), its label (H, W), and where there is depth its bins (h, w) and (H, W) and metres (H, W)."""

    image: Array
    label: Array
    grid: Array | None
    bins: Array | None
    depth: Array | None


def main(config: Gates) -> int:
    """0; writes gates.json and gates.html."""
    import torch

    from fastseg.checkpoint import load
    from fastseg.data.sources import open_labelled
    from fastseg.evaluate import check_classes_agree
    from fastseg.gates_page import write_page
    from fastseg.gates_scores import Tally
    from fastseg.loop import chosen_device
    from fastseg.methods import parse_size

    if config.threads:
        torch.set_num_threads(config.threads)
    found = load(config.checkpoint)
    net = _gated(found).to(chosen_device(config.device))
    examples = open_labelled(config.data, config.root, config.split)
    check_classes_agree(found, examples)
    if not len(examples):
        raise ValueError(f"{config.data} {config.split} holds no labelled image")
    size = parse_size(config.size) if config.size else found.record.size
    chosen = set(np.linspace(0, len(examples) - 1, min(config.images, len(examples))).astype(int).tolist())
    tallies: list[Tally] = []
    drawn: list[tuple[str, Truth, list[Seen]]] = []
    for index in range(len(examples)):
        truth, passes = _look(net, examples, index, size, found, config)
        tallies = tallies or [Tally(len(examples.class_names), len(_edges(net)) + 1) for _ in passes]
        for tally, seen in zip(tallies, passes, strict=True):
            tally.add(truth, seen)
        if index in chosen:
            drawn.append((examples.ids()[index], truth, passes))
    config.out.mkdir(parents=True, exist_ok=True)
    scores = {"network": found.record.network, "edges": _edges(net), "images": len(examples), "smooth": config.smooth,
              "passes": [tally.as_json(examples.class_names) for tally in tallies]}  # fmt: skip
    (config.out / "gates.json").write_text(json.dumps(scores, indent=1) + "\n")
    write_page(config.out / "gates.html", scores, drawn, examples.class_names)
    for number, each in enumerate(cast("list[dict[str, Any]]", scores["passes"])):
        print(f"pass {number}: mIoU {100 * each['miou']:.2f} %, pixels {100 * each['global_accuracy']:.2f} %")
    print(f"{config.out / 'gates.json'} and {config.out / 'gates.html'} written")
    return 0


def _gated(found: Checkpoint) -> Module:
    """The checkpoint's network; ValueError for one without gates."""
    from fastseg.inference import restored
    from fastseg.nets import GATED
    from fastseg.nets.gating_net import GatedNet

    name = found.record.network
    net = restored(found) if name.partition("-")[0].partition("/")[0] == GATED else None
    if not isinstance(net, GatedNet):
        raise ValueError(f"{found.path}: its network {name} has no gates; `fastseg train gating` trains one")
    return net


def _edges(net: Any) -> list[float]:
    return [round(float(edge), 6) for edge in net.edges]


def _look(
    net: Any, examples: LabelledImages, index: int, size: tuple[int, int], found: Checkpoint, config: Gates
) -> tuple[Truth, list[Seen]]:
    """One image, what is known of it, and every pass over it."""
    import torch

    from fastseg.data.augment import resized
    from fastseg.inference import depths_of
    from fastseg.nets.gating_depth import check_metres, quantised

    image, label = examples[index]
    device = next(net.parameters()).device
    depth = cast(LabelledFrames, examples).depth(index) if hasattr(examples, "depth") else None
    gates = depths_of(net, examples, [index], size)
    with torch.inference_mode():
        seen = found.record.normalisation(resized(image, size)[None].to(device))
        passes = net.every(seen, None if gates is None else gates[0][None].to(device), config.loops)
        looks = [_seen(net, each, seen, label.shape, config.smooth) for each in passes]
        if depth is None:
            return Truth(image, label, None, None, None), looks
        check_metres(depth, f"the depth of {examples.ids()[index]}")
        whole = torch.from_numpy(depth)[None].to(device)
        near = torch.nn.functional.interpolate(whole[None], list(size), mode="nearest-exact")[0]
        grid = quantised(net.grid_depth(near, passes[0].gate), net.edges)[0].cpu().numpy()
        return Truth(image, label, grid, quantised(whole, net.edges)[0].cpu().numpy(), depth), looks


def _seen(net: Any, found: Any, images: Tensor, shape: tuple[int, ...], sigma: float) -> Seen:
    from torch.nn import functional

    from fastseg.nets.gating_depth import smoothed

    def grown(scores: Tensor, size: Sequence[int]) -> Tensor:
        return functional.interpolate(scores, list(size), mode="bilinear", align_corners=False)

    classes = grown(net.shown(found, images), shape)[0].argmax(0).cpu().numpy()
    bins = None if found.bins is None else found.bins[0].argmax(0).cpu().numpy()
    depth = None
    if found.log_depth is not None:
        step, (height, width) = net.step, images.shape[-2:]
        metres = smoothed(found.log_depth.float().exp(), sigma)[:, None]
        padded = grown(metres, [side + -side % step for side in (height, width)])
        depth = grown(padded[..., :height, :width], shape)[0, 0].cpu().numpy()
    return Seen(classes, found.gate[0].float().cpu().numpy(), bins, depth)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg gates CHECKPOINT --data D --root R --out DIR`."""
    return run(Gates, main, argv, positional=("checkpoint",), prog="fastseg gates")


if __name__ == "__main__":
    sys.exit(cli())
