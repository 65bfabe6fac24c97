"""Weights to start from, wherever they lie: a checkpoint, a weights file, or what timm publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastseg.data.augment import IMAGENET, Normalisation
from fastseg.tensors import Tensor

TIMM = "timm:"


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
