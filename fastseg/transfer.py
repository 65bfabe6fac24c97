"""Weights from one network into another: which went where, and a refusal when none did.

`fastseg transfer map SOURCE NETWORK` says what would go over, and changes nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastseg.cli import run
from fastseg.tensors import Module, Tensor
from fastseg.weights import Source, read_source

if TYPE_CHECKING:
    from rich.table import Table

Part = Literal["all", "encoder"]


@dataclass(frozen=True)
class Transfer:
    """Which state-dict entries went over.

    matched     copied into the network
    missing     in the network, with nothing to copy from (the classifier always is)
    reshaped    in both, of different shapes: left as initialised
    resized     a vision transformer's positions, copied onto a grid of another size
    dropped     in the source alone (its classifier always is)
    history     what the source itself was started from, and so on, the latest first
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    dropped: tuple[str, ...]
    history: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The names by what became of them."""
        kinds = ("matched", "resized", "missing", "reshaped", "dropped")
        return {kind: getattr(self, kind) for kind in kinds}

    def title(self) -> str:
        """Where the weights came from, and where those came from."""
        return ", which was started from ".join([f"from {self.source}", *self.history])

    def table(self) -> Table:
        """The report as a rich table, one line a kind and a part of the network."""
        from rich.table import Table

        table = Table("weights", "part", "tensors", "first", title=self.title(), title_justify="left")
        for kind, found in self.kinds().items():
            for part, names in _by_part(found).items():
                table.add_row(kind, part, str(len(names)), names[0])
        return table


def _by_part(names: tuple[str, ...]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.partition(".")[0], []).append(name)
    return parts


def transfer(source: Source, net: Module, part: Part = "all") -> Transfer:
    """What was copied from the source into the network: everything that fits but the classifier, or the encoder alone.

    Names match as they stand or, failing that, without the prefixes by which timm, segmentation-models-pytorch and
    this library name the same encoder layer, so an encoder goes into another decoder as well.

    ValueError: nothing matched.
    """
    from fastseg.nets import classifier_keys

    target = net.state_dict()
    kept = set(classifier_keys(net))
    if part == "encoder":
        kept |= {name for name in target if not name.startswith("encoder.")}
    return carry(source, target, kept)


def carry(source: Source, target: Mapping[str, Tensor], kept: set[str]) -> Transfer:
    """What was copied into the tensors of a state dict, those named in `kept` left alone. ValueError: nothing fits."""
    import torch

    from fastseg.nets.position_grids import regridded

    spelled = _spelled(source.weights)
    matched, missing, reshaped, resized = (list[str]() for _ in range(4))
    used: set[str] = set()
    for name, value in target.items():
        found = name if name in source.weights else spelled.get(_plain(name), "")
        if name in kept or not found:
            missing.append(name)
            continue
        used.add(found)
        given = source.weights[found]
        fitting = given if given.shape == value.shape else regridded(name, given, value)
        if fitting.shape != value.shape:
            reshaped.append(name)
            continue
        (matched if fitting is given else resized).append(name)
        with torch.no_grad():
            value.copy_(fitting)
    dropped = tuple(name for name in source.weights if name not in used)
    report = Transfer(
        source.name, tuple(matched), tuple(missing), tuple(reshaped), dropped, source.history, tuple(resized)
    )
    if not any(target[name].ndim for name in matched):
        raise ValueError(
            f"no weight of {source.name} fits the network: {_first(source.weights)} against {_first(target)}"
        )
    return report


FOREIGN = ("decoder.", "segmentation_head.", "fixed.", "a_h.", "a_s.", "net.decoder.", "net.segmentation_head.")


DEEPLAB = {"classifier.0.": "decoder.aspp.", "classifier.1.": "decoder.conv.", "classifier.2.": "decoder.bn."}


def _spelled(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of a source's encoder, and of torchvision's DeepLabv3 decoder, by what they are called everywhere."""
    found = {_plain(name): name for name in weights if not name.startswith(FOREIGN)}
    if "classifier.0.convs.0.0.weight" in weights:
        for theirs, ours in DEEPLAB.items():
            found |= {ours + name.removeprefix(theirs): name for name in weights if name.startswith(theirs)}
    return found


def _plain(name: str) -> str:
    """An encoder layer's name without what libraries and training scripts put before it."""
    name = re.sub(r"^((net|encoder|model|backbone|module|base_encoder|encoder_q|student|teacher)\.)+", "", name)
    name = re.sub(r"^features[._]", "", name)
    return re.sub(r"^(stages|stem)_(\d+)", r"\1.\2", name)


def _first(weights: Mapping[str, Tensor]) -> str:
    name = next(iter(weights))
    return f"{name} {tuple(weights[name].shape)}"


@dataclass(frozen=True)
class TransferMap:
    """Say which weights of a source would go into a network; changes nothing.

    command   map, the one command
    source    a checkpoint folder, a .safetensors or .pth file, timm:NAME, torchvision:NAME
    network   decoder/encoder, or a checkpoint folder whose network is meant
    part      all but the classifier, or the encoder alone
    classes   of the network, where `network` is a name
    json      a file for the whole report, every tensor's name
    """

    command: Literal["map"]
    source: str
    network: str
    part: Part = "all"
    classes: int = 2
    json: Path | None = None


def main(config: TransferMap) -> int:
    """0; prints the table of what matched, is missing, has another shape or is left behind."""
    from rich.console import Console

    report = transfer(read_source(config.source), _network(config), config.part)
    Console().print(report.table())
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in report.kinds().items())
    Console().print(f"{config.source} into {config.network}: {counts}", highlight=False)
    if config.json is not None:
        config.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    return 0


def _network(config: TransferMap) -> Module:
    from fastseg.nets import build_network

    if Path(config.network).is_dir():
        from fastseg.checkpoint import load

        record = load(Path(config.network)).record
        return build_network(record.network, len(record.classes))
    return build_network(config.network, config.classes)


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg transfer map SOURCE NETWORK`: 0, or 2 when nothing would go over."""
    return run(TransferMap, main, argv, positional=("command", "source", "network"), prog="fastseg transfer")


if __name__ == "__main__":
    sys.exit(cli())
