"""The maps behind the labels of a PSSL run, made again: its classifiers, settings and noise on its stored pictures."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastseg.classifiers import open_member, read_classifiers
from fastseg.cli import typed
from fastseg.data.class_pictures import Picture, decoded
from fastseg.data.pssl_shards import PSSLShards
from fastseg.frames import FrameError
from fastseg.labels.pssl import Ensemble, PSSLLabel
from fastseg.labels.pssl_config import PSSLConfig

if TYPE_CHECKING:
    from fastseg.explain import Explain


def ensemble_of(config: Explain, shards: PSSLShards, about: dict[str, Any]) -> Ensemble:
    """The run's classifiers with its settings; ValueError when they cannot be had, or are others."""
    torch.set_num_threads(config.threads)
    stated = about.get("config", {})
    path = config.models or (Path(stated["models"]) if isinstance(stated.get("models"), str) else None)
    if path is None or not path.is_file():
        named = f"run.json names {path}, which is not there" if path else "run.json names none"
        raise ValueError(f"the maps need the run's classifiers, and {named}: give --models FILE, or --maps false")
    models, of_run = read_classifiers(path), shards.metadata["pssl"]
    if [model.name for model in models] != of_run["models"]:
        raise ValueError(f"{path} lists other classifiers than the run's: {', '.join(of_run['models'])}")
    known = {each.name for each in fields(PSSLConfig)}
    values = {key: value for key, value in dict(stated.get("pssl") or {}).items() if key in known}
    pssl = typed(PSSLConfig, values, f"{config.run}/run.json")
    return Ensemble([open_member(model, of_run["classes"]) for model in models], pssl, config.device)


def again(ensemble: Ensemble, row: dict[str, Any]) -> PSSLLabel:
    """The label of a stored picture with each model's map; ValueError when it cannot be made again."""
    if row["image"] is None:
        raise ValueError(f"{row['id']!r} has no picture in its shard: label with --tuning.keep_images true")
    pixels = decoded(Picture(row["image"], row["class"], row["id"]), ensemble.image_size)
    (found,) = ensemble.label(pixels[None], [row["class"]], [row["id"]], keep_maps=True)
    if isinstance(found, FrameError):
        raise ValueError(f"{row['id']!r} has a label in the run, and here it is rejected: {found.detail}")
    return found
