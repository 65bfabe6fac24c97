"""A regulariser of any training whose targets are labels: a second branch, through an autoencoder of label maps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.methods import RegulariserConfig, Start
from fastseg.methods.cross_entropy import cross_entropy, two_classifiers
from fastseg.methods.regulariser_losses import activation_loss, label_loss
from fastseg.nets import build_network, looked, stride
from fastseg.nets.features import Features
from fastseg.nets.label_autoencoder import LabelAutoencoder
from fastseg.nets.regulariser import Branch, DecoderBranch, EncoderBranch, digest_of, matching, taps
from fastseg.weights import read_run

BRANCH = "regulariser"


def regularised(begun: Start, config: RegulariserConfig, classes: int, size: tuple[int, int], seed: int) -> Start:
    """The network as training begins with its branch as its `regulariser`; as it is, where there is to be none.

    ValueError: no label autoencoder, one of another class count or size, a tap that does not exist.
    """
    if config.kind == "none":
        return begun
    autoencoder, names = read_autoencoder(config, classes, size, seed)
    found, padded = look_at(begun.net, size)
    chosen = chosen_taps(found, config, padded)
    widths = [taps(found)[name].shape[1] for name in chosen]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        begun.net.add_module(BRANCH, _branch(config, autoencoder, chosen, widths))
    return replace(begun, class_names=names)


def read_autoencoder(
    config: RegulariserConfig, classes: int, size: tuple[int, int], seed: int
) -> tuple[LabelAutoencoder, tuple[str, ...]]:
    """The label autoencoder that the configuration names, its weights random where asked, and its classes."""
    run = read_run(config.autoencoder, "regulariser.autoencoder")
    record, wanted = run.record, f"{size[0]}x{size[1]}"
    net = build_network(record.network, len(record.classes), seed)
    if not isinstance(net, LabelAutoencoder):
        raise ValueError(
            f"{run.path} is of train {record.method}; regulariser.autoencoder is a label-autoencoder's run"
        )
    if (len(record.classes), record.size) != (classes, size):
        have = f"{len(record.classes)} classes at {record.size[0]}x{record.size[1]}"
        raise ValueError(
            f"{run.path} is a label autoencoder of {have}, and this training needs one of {classes} classes at "
            f"{wanted}: train it on these labels with --size {wanted}"
        )
    if config.weights != "random":
        net.load_state_dict(run.weights)
    return net, record.classes


def chosen_taps(found: Features, config: RegulariserConfig, size: tuple[int, int]) -> list[str]:
    """The names of the maps that the branch reads; ValueError names those there are."""
    offered = taps(found)
    maps = [name for name in offered if name != "penultimate"]
    if config.tap:
        if config.tap not in offered:
            listed = ", ".join(f"{name} ({x.shape[1]} x {x.shape[2]} x {x.shape[3]})" for name, x in offered.items())
            raise ValueError(f"regulariser.tap {config.tap!r} does not exist; this network offers {listed}")
        return [config.tap]
    if config.kind == "encoder":
        return maps
    return ([name for name in maps if matching(offered[name], size)] or ["penultimate"])[-1:]


def _branch(config: RegulariserConfig, net: LabelAutoencoder, names: list[str], widths: list[int]) -> Branch:
    if config.kind == "encoder":
        return EncoderBranch(net.encoder, names, widths)
    return DecoderBranch(net.decoder, names[0], widths[0], config.weights != "frozen")


def look_at(net: nn.Module, size: tuple[int, int]) -> tuple[Features, tuple[int, int]]:
    """The features of a black image of `size`, and the size that it was padded to."""
    training = net.training
    net.eval()
    with torch.no_grad():
        found = looked(net, torch.zeros(1, 3, *size))
    net.train(training)
    return found, padded_size(net, size)


def padded_size(net: nn.Module, size: tuple[int, ...]) -> tuple[int, int]:
    """The (height, width) that images of `size` are padded to before they enter the network."""
    step = stride(net)
    return -(-size[-2] // step) * step, -(-size[-1] // step) * step


def branch_of(net: nn.Module) -> Branch | None:
    """The network's branch of training, None where it has none."""
    return cast("Branch | None", getattr(net, BRANCH, None))


def regularised_loss(
    net: nn.Module, images: Tensor, labels: Tensor, weight: Tensor | None, config: RegulariserConfig
) -> Tensor:
    """Softmax cross-entropy over the labelled pixels, + weight * the branch's loss where there is one; a scalar."""
    if config.kind == "none":
        return cross_entropy(net, images, labels, weight)
    branch = branch_of(net)
    if branch is None:
        raise ValueError(f"regulariser.kind {config.kind} needs a network that was built with it")
    found = looked(net, images)
    loss = two_classifiers(found.logits, found.auxiliary, labels, weight)
    height, width = padded_size(net, images.shape)
    if isinstance(branch, DecoderBranch):
        told = branch(found, (height, width))[..., : labels.shape[-2], : labels.shape[-1]]
        return loss + config.weight * label_loss(told, labels, weight, config.loss == "mse")
    padded = functional.pad(labels, (0, width - labels.shape[-1], 0, height - labels.shape[-2]), value=255)
    return loss + config.weight * activation_loss(branch(found, padded), padded, weight)


def proof_of(net: nn.Module) -> dict[str, str | None] | None:
    """By SHA-256, that what rests of the branch is what it was before training; None without a branch.

    ValueError when it is not: a run that goes on with another autoencoder than it began with.
    """
    branch = branch_of(net)
    if branch is None:
        return None
    now = None if branch.resting is None else digest_of(branch.resting)
    if now != branch.before:
        raise ValueError(
            "the frozen part of the regulariser is not what it was when this run began: regulariser.autoencoder was "
            "trained again since; begin the run anew"
        )
    return {"branch": type(branch).__name__, "sha256_before": branch.before, "sha256_now": now}


def keep_proof(net: nn.Module, out: Path) -> None:
    """None; `proof_of` the network's branch, where it has one, is OUT/regulariser.json."""
    proof = proof_of(net)
    if proof is not None:
        (out / "regulariser.json").write_text(json.dumps(proof, indent=1) + "\n")
