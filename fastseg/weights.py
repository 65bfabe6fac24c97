"""Weights to start from, wherever they lie: a checkpoint, a weights file, what timm or torchvision publishes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import IMAGENET, Normalisation
from fastseg.tensors import Tensor

TIMM, TORCHVISION = "timm:", "torchvision:"
SAVED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WITHIN = ("state_dict", "model", "model_state_dict", "teacher")  # where training scripts keep the state dict
CONFIG = "config.json"  # timm's, beside the weights that it saved
PICKLED = (
    "it is damaged, or holds Python objects beside tensors, which could run code when read; save the state dict alone, "
    "torch.save(net.state_dict(), FILE), or as .safetensors"
)
LONGEST = 20  # runs that a history goes back


@dataclass(frozen=True)
class Source:
    """Weights to start from, the normalisation they expect, and where they came from.

    history     what those of `name` were started from, and so on, the latest first; empty where it is not known
    """

    name: str
    weights: Mapping[str, Tensor]
    normalisation: Normalisation | None
    history: tuple[str, ...] = ()


def read_source(name: str) -> Source:
    """The weights that `name` stands for.

    a folder                    a checkpoint, a run's last good one, or what timm saved (config.json, model.safetensors)
    FILE.safetensors, FILE.pth  a state dict (a .pth is read without running any code in it); its normalisation is the
                                one that `fastseg export` wrote into the file, or timm's config.json beside it, if any
    timm:NAME                   timm's published weights of an encoder, which may be downloaded
    torchvision:NAME            torchvision's newest of a network, likewise; NAME.WEIGHTS others of its, as in
                                resnet50.IMAGENET1K_V1; deeplabv3_resnet50 has COCO's

    ValueError: nothing of the kind, a damaged file, or a download that failed.
    """
    if name.startswith(TIMM):
        return _published(name)
    if name.startswith(TORCHVISION):
        return _torchvision(name)
    path = Path(name)
    trained = (path / "checkpoint.json").is_file() or any(path.glob("checkpoint-*"))
    if not trained and (path / CONFIG).is_file() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if path.is_dir():
        from fastseg.checkpoint import load

        found = load(path)
        return Source(str(found.path), found.weights, found.record.normalisation, history(found.record.config))
    if not path.is_file():
        raise ValueError(
            f"--init-from {name}: no such checkpoint folder or weights file (or timm:NAME, torchvision:NAME)"
        )
    return Source(name, _state_dict(path), _stated(path))


def read_run(name: str, option: str) -> Checkpoint:
    """The checkpoint in a folder, see `fastseg.checkpoint.load`; ValueError naming the option when there is none."""
    from fastseg.checkpoint import CheckpointError, load

    try:
        return load(Path(name))
    except CheckpointError as error:
        raise ValueError(f"{option}: {error}") from error


def history(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run of this configuration started from, what that started from, and so on, as far as it can be read."""
    from fastseg.checkpoint import CheckpointError, load

    names: list[str] = []
    while (name := str(config.get("init_from") or "")) and len(names) < LONGEST:
        names.append(name)
        if name.startswith((TIMM, TORCHVISION)) or not Path(name).is_dir():
            break
        try:
            config = load(Path(name)).record.config
        except CheckpointError:  # moved or tidied away since: that is where the story ends
            break
    return tuple(names)


def _stated(path: Path) -> Normalisation | None:
    """The normalisation written in a .safetensors by `fastseg export`, or in timm's config.json beside the file."""
    stated: Any = None
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        stated = json.loads(header.get("__metadata__", {}).get("fastseg", "{}")).get("normalisation")
    beside = path.with_name(CONFIG)
    if stated is None and beside.is_file():
        try:
            config = json.loads(beside.read_text())
            stated = config.get("pretrained_cfg", config)
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{beside}: expected timm's configuration of the weights beside it ({error})") from error
    return _normalisation(stated, path) if isinstance(stated, dict) and {"mean", "std"} <= stated.keys() else None


def _normalisation(stated: Mapping[str, Any], path: Path) -> Normalisation:
    triples = [stated["mean"], stated["std"]]
    if not all(isinstance(each, list) and len(each) == 3 for each in triples) or not all(
        isinstance(value, int | float) for each in triples for value in each
    ):
        raise ValueError(f"{path}: its mean and std must be three numbers each; got {triples[0]} and {triples[1]}")
    mean, std = (tuple(float(value) for value in each) for each in triples)
    if not all(value > 0 for value in std):
        raise ValueError(f"{path}: its std must be positive; got {std}")
    return Normalisation(mean, std)  # type: ignore[arg-type]


def _published(name: str) -> Source:
    import timm

    encoder = name.removeprefix(TIMM)
    if not timm.is_model(encoder):
        from fastseg.nets import unknown

        raise ValueError(unknown("timm model", encoder, timm.list_models()))
    try:
        model = timm.create_model(encoder, pretrained=True)
    except Exception as error:  # a download fails in as many ways as there are networks
        raise _not_had("timm", encoder, error) from error
    published: Any = model.pretrained_cfg
    mean, std = (tuple(published.get(key, default)) for key, default in vars(IMAGENET).items())
    return Source(name, model.state_dict(), Normalisation(mean, std))


def _torchvision(name: str) -> Source:
    from torchvision import models

    net, _, which = name.removeprefix(TORCHVISION).partition(".")
    try:
        known: Any = models.get_model_weights(net)
        chosen: Any = known[which] if which else known.DEFAULT
    except (ValueError, KeyError) as error:
        from fastseg.nets import unknown

        if net in models.list_models():
            raise ValueError(
                unknown(f"weights of torchvision's {net}", which, [each.name for each in known])
            ) from error
        raise ValueError(unknown("torchvision network", net, models.list_models())) from error
    try:
        weights = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except Exception as error:
        raise _not_had("torchvision", net, error) from error
    looks: Any = chosen.transforms()
    mean, std = (tuple(getattr(looks, key, default)) for key, default in vars(IMAGENET).items())
    return Source(name, weights, Normalisation(mean, std))


def _not_had(publisher: str, net: str, error: Exception) -> ValueError:
    """The sentence for a download that failed."""
    cause = str(error).strip().splitlines() or [type(error).__name__]
    hint = "without a network, name a .safetensors or .pth file of them"
    return ValueError(f"{publisher}'s weights of {net} could not be had ({cause[0].rstrip('.')}); {hint}")


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name; they may lie within what a training script saved."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(path.read_bytes())
        if path.suffix not in SAVED:
            raise ValueError(f"its name must end in .safetensors, {', '.join(SAVED)}")
        found = _tensors(path)
    except Exception as error:  # each format has its own exceptions
        cause = str(error).strip().splitlines() or [type(error).__name__]
        reason = PICKLED if type(error).__name__ == "UnpicklingError" else cause[0]
        raise ValueError(f"cannot read weights from {path}: {reason}") from error
    for key in WITHIN:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    plain = found if isinstance(found, dict) else {}
    tensors = {str(key): value for key, value in plain.items() if torch.is_tensor(value)}
    if not tensors:
        keys = f"; it has {', '.join(map(str, list(plain)[:5]))}" if plain else ""
        raise ValueError(f"{path} holds no state dict (a mapping of names to tensors){keys}")
    return tensors


def _tensors(path: Path) -> Any:
    """What torch.save wrote, tensors and plain values alone; a script's parsed arguments are plain values too."""
    import argparse

    import torch

    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)
