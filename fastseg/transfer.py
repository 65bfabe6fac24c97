"""Weights from one network into another: which went where, and a refusal when none did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from fastseg.data.augment import IMAGENET, Normalisation
from fastseg.tensors import Module, Tensor

TIMM = "timm:"


@dataclass(frozen=True)
class Transfer:
    """Which state-dict entries went over.

    matched     copied into the network
    missing     in the network, with nothing to copy from (the classifier always is)
    reshaped    in both, of different shapes: left as initialised
    dropped     in the source alone (its classifier always is)
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    dropped: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> Table:
        """The report as a rich table, one line a kind and a part of the network."""
        table = Table("weights", "part", "tensors", "first", title=f"from {self.source}", title_justify="left")
        for kind in ("matched", "missing", "reshaped", "dropped"):
            for part, names in _by_part(getattr(self, kind)).items():
                table.add_row(kind, part, str(len(names)), names[0])
        return table


def _by_part(names: tuple[str, ...]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.partition(".")[0], []).append(name)
    return parts


@dataclass(frozen=True)
class Source:
    """Weights to start from, the normalisation they expect, and where they came from."""

    name: str
    weights: Mapping[str, Tensor]
    normalisation: Normalisation | None


def read_source(name: str) -> Source:
    """The weights that `name` stands for.

    a folder                    a checkpoint, or a run's last good one
    FILE.safetensors, FILE.pth  a state dict (a .pth is read without running any code in it); normalisation unknown
    timm:NAME                   timm's published weights of an encoder, which may be downloaded

    ValueError: nothing of the kind, a damaged file, or a download that failed.
    """
    if name.startswith(TIMM):
        return _published(name)
    path = Path(name)
    if path.is_dir():
        from fastseg.checkpoint import load

        found = load(path)
        return Source(str(found.path), found.weights, found.record.normalisation)
    if not path.is_file():
        raise ValueError(f"--init-from {name}: no such checkpoint folder or weights file (or timm:NAME)")
    return Source(name, _state_dict(path), None)


def _published(name: str) -> Source:
    import timm

    encoder = name.removeprefix(TIMM)
    if not timm.is_model(encoder):
        from fastseg.nets import unknown

        raise ValueError(unknown("timm model", encoder, timm.list_models()))
    try:
        model = timm.create_model(encoder, pretrained=True)
    except Exception as error:  # a download fails in as many ways as there are networks
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"timm's weights of {encoder} could not be had: {cause[0]}") from error
    published: Any = model.pretrained_cfg
    mean, std = (tuple(published.get(key, default)) for key, default in vars(IMAGENET).items())
    return Source(name, model.state_dict(), Normalisation(mean, std))


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(path.read_bytes())
        if path.suffix not in (".pth", ".pt"):
            raise ValueError("its name must end in .safetensors, .pth or .pt")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own exceptions
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"cannot read weights from {path}: {cause[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    tensors = (
        {str(key): value for key, value in found.items() if torch.is_tensor(value)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise ValueError(f"{path} holds no state dict (a mapping of names to tensors)")
    return tensors


def transfer(source: Source, net: Module) -> Transfer:
    """What was copied from the source into the network: everything that fits but the classifier.

    Names match as they stand or, failing that, without the prefixes by which timm, segmentation-models-pytorch and
    SegNet name the same encoder layer.

    ValueError: nothing matched.
    """
    import torch

    from fastseg.nets import classifier_keys

    target, own = net.state_dict(), set(classifier_keys(net))
    spelled = {_plain(name): name for name in source.weights if not name.startswith(("decoder.", "segmentation_head."))}
    matched, missing, reshaped = [], [], []
    used: set[str] = set()
    for name, value in target.items():
        found = name if name in source.weights else spelled.get(_plain(name), "")
        if name in own or not found:
            missing.append(name)
            continue
        used.add(found)
        if value.shape != source.weights[found].shape:
            reshaped.append(name)
            continue
        matched.append(name)
        with torch.no_grad():
            value.copy_(source.weights[found])
    dropped = tuple(name for name in source.weights if name not in used)
    report = Transfer(source.name, tuple(matched), tuple(missing), tuple(reshaped), dropped)
    if not any(target[name].ndim for name in matched):
        raise ValueError(
            f"no weight of {source.name} fits the network: {_first(source.weights)} against {_first(target)}"
        )
    return report


def _plain(name: str) -> str:
    """An encoder layer's name without what the libraries put before it."""
    name = re.sub(r"^((encoder|model|backbone|module)\.)+", "", name)
    name = re.sub(r"^features[._]", "", name)
    return re.sub(r"^(stages|stem)_(\d+)", r"\1.\2", name)


def _first(weights: Mapping[str, Tensor]) -> str:
    name = next(iter(weights))
    return f"{name} {tuple(weights[name].shape)}"
