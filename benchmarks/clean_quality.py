"""What cleaning by a label autoencoder is worth: `python -m benchmarks.clean_quality --runs DIR`.

HN-labels of noisy procedural rooms against the exact ones, before and after. The autoencoder learns the noisy labels of
rooms of its own; the probability below which a label is doubted is chosen on a second set of rooms, among those of
`DOUBTS` that leave at least `KEPT` of its labels (0 doubts none), and the figures are of a third. `class`: a doubted
label becomes the likeliest class; `void`: it is left out, and the share of pixels that keep a label falls. Agreement is
the share of labelled pixels whose label is the exact one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.rooms_quality import exact_label
from benchmarks.timing import one_thread, write_json, write_result
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.data.shards import class_names
from fastseg.frames import FrameError
from fastseg.labels.hn import HNConfig, label_frame
from fastseg.methods import LoopConfig, OptimConfig, parse_size
from fastseg.methods.structure import LabelStructure, Widths
from fastseg.nets.label_autoencoder import LabelAutoencoder, cleaned

DOUBTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
KEPT = 0.95
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Config:
    """How many rooms, which autoencoder."""

    runs: Path  # a folder for the training, which goes on where it was
    learned: int = 96  # rooms whose labels the autoencoder learns
    chosen: int = 24  # rooms that the doubt is chosen on
    scored: int = 48
    seed: int = 41  # of the first set; the others' are the next two
    height: int = 240
    width: int = 320
    radius: int = 3  # of the labels' normals
    widths: Widths = 128
    size: str = "96x128"
    steps: int = 250
    batch: int = 8
    out: Path | None = None


@dataclass
class Labelled:
    """Accepted frames' labels and, for scoring, the exact ones; a LabelledImages without images."""

    class_names: Sequence[str]
    names: list[str] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    exact: list[Labels] = field(default_factory=list)

    def ids(self) -> list[str]:
        return self.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Labels, Labels]:
        label = self.labels[index]
        return np.zeros((*label.shape, 3), np.uint8), label


def labelled(config: Config, seed: int, count: int) -> Labelled:
    """The noisy labels of so many rooms, those rejected left out."""
    hn, rooms = HNConfig(radius=config.radius), Rooms(seed, count, config.height, config.width)
    edges = [float(edge) for edge in hn.edges_m]
    found = Labelled(class_names(hn.n_height, hn.n_normal, edges))
    for name in rooms.ids():
        truth = rooms.truth(name)
        try:
            label = label_frame(rooms.record(name, truth), hn).label
        except FrameError:
            continue
        found.names.append(name)
        found.labels.append(label)
        found.exact.append(exact_label(truth, hn.n_height, hn.n_normal))
    return found


def autoencoder(config: Config, maps: Labelled) -> LabelAutoencoder:
    """The autoencoder of these labels, after training it, or what is left of that."""
    from fastseg.checkpoint import load
    from fastseg.inference import restored
    from fastseg.train import fit

    method = LabelStructure(
        "rooms", "rooms", config.runs / "autoencoder", widths=config.widths, size=config.size, steps=config.steps,
        batch=config.batch, resume=True,
        loop=LoopConfig(precision="bf16", device="cpu", workers=0, threads=1, save_every=100),
        optim=OptimConfig(lr=1e-3, optimizer="adamw", weight_decay=0.0, schedule="cosine", warmup=20),
    )  # fmt: skip
    if fit(method, maps):
        raise ValueError(f"the training in {method.out} did not end well")
    net = restored(load(method.out))
    assert isinstance(net, LabelAutoencoder), "it was trained as one"
    return net


def figures(net: LabelAutoencoder | None, maps: Labelled, config: Config, doubt: float, void: bool) -> dict[str, float]:
    """agreement and labelled_share of the labels, cleaned where a network is given."""
    size, right, kept, pixels = parse_size(config.size), 0, 0, 0
    for label, exact in zip(maps.labels, maps.exact, strict=True):
        given = label
        if net is not None:
            given = cleaned(net, torch.from_numpy(label)[None], size, doubt, void)[0].numpy()
        right += int((given == exact)[given != 255].sum())
        kept += int((given != 255).sum())
        pixels += given.size
    return {"agreement": round(right / max(kept, 1), 5), "labelled_share": round(kept / pixels, 5)}


def compared(net: LabelAutoencoder, choose: Labelled, score: Labelled, config: Config) -> dict[str, Any]:
    """The figures before and after, by what becomes of a doubted label."""
    found: dict[str, Any] = {"before": figures(None, score, config, 0, False)}
    found["chosen_before"] = figures(None, choose, config, 0, False)
    least = KEPT * found["chosen_before"]["labelled_share"]
    for name, void in (("class", False), ("void", True)):
        tried = {doubt: figures(net, choose, config, doubt, void) for doubt in DOUBTS}
        allowed = {doubt: each["agreement"] for doubt, each in tried.items() if each["labelled_share"] >= least}
        best = max(allowed, key=lambda doubt: allowed[doubt])
        on_scored = figures(net, score, config, best, void)
        gain = round(on_scored["agreement"] - found["before"]["agreement"], 5)
        found[name] = {"doubt": best, **on_scored, "gain": gain, "tried": {str(key): v for key, v in tried.items()}}
    return found


def main(config: Config) -> int:
    """0 after training, scoring, and writing the figures."""
    counts = (config.learned, config.chosen, config.scored)
    sets = [labelled(config, config.seed + place, count) for place, count in enumerate(counts)]
    print(f"labelled {[len(each) for each in sets]} of {list(counts)} rooms", flush=True)
    net = autoencoder(config, sets[0])
    found = compared(net, sets[1], sets[2], config)
    for name in ("before", "class", "void"):
        print(f"{name:7} agreement {found[name]['agreement']:.4f}, labelled {found[name]['labelled_share']:.4f}")
    asked = {key: value for key, value in vars(config).items() if key not in ("runs", "out")}
    payload = {**asked, "rooms": [len(each) for each in sets], **found, "gpu": "not run on a GPU"}
    if config.out is None:
        print(f"written to {write_result('clean-quality-rooms', payload)}")
        return 0
    from benchmarks.record import stamp

    print(f"written to {write_json(config.out, {**stamp(), **payload})}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
