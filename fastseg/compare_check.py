"""Everything about a study that can be known before its first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastseg.compare_plan import Plan
from fastseg.compare_run import checkout
from fastseg.compare_study import STAGE, Study, Variant, amounts, is_searched, method_of, pretraining_of
from fastseg.methods import RegulariserConfig
from fastseg.methods.segment import Segment
from fastseg.weights import TIMM, TORCHVISION


def checked(study: Study, out: Path) -> Plan:
    """The study's plan. ValueError or OSError, one sentence: data, weights, networks or settings that cannot be."""
    methods = {each.name: method_of(study, each, out, study.seeds[0]) for each in study.variants}
    for variant in study.variants:
        _check_init(variant)
        if is_searched(study, variant) and methods[variant.name].loop.eval_split == "test":
            raise ValueError(f"variant {variant.name}: lr: search picks by the validation images; eval_split is test")
    images = {name: _check_images(name, method) for name, method in methods.items()}
    if len(set(images.values())) > 1:
        raise ValueError(f"the variants train on different numbers of images: {images}")
    least = min(amounts(study, next(iter(images.values()))))
    for name, segment in methods.items():
        if segment.batch > least:
            raise ValueError(f"variant {name}: a batch of {segment.batch} needs as many labelled images; got {least}")
    for stage in study.pretrain:
        method = pretraining_of(stage, out)
        if stage.labels:
            checkout()
        else:
            method.examples()
    plan = Plan(study, out, next(iter(images.values())))
    for task in plan.tasks():
        plan.is_done(task)
    return plan


def check_networks(study: Study, out: Path) -> None:
    """None; ValueError for a network that cannot be built, that has fewer blocks than are to be frozen, or that no
    weight of its variant's init fits.

    Each network is built once: seconds now, against hours after which the last variant would say so.
    """
    from fastseg.nets import build_network, freeze

    stages = [(f"pretrain {each.name}", pretraining_of(each, out).network, 0) for each in study.pretrain]
    methods = [(each, method_of(study, each, out, study.seeds[0])) for each in study.variants]
    variants = [(f"variant {each.name}", _network(method), method.transfer.freeze) for each, method in methods]
    first = {(network, blocks): name for name, network, blocks in reversed([*stages, *variants])}
    for (network, blocks), name in first.items():
        try:
            freeze(build_network(network, 2, 0), max(blocks, 0))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    for each, method in methods:
        if each.init and not each.init.startswith(STAGE):  # weights that are there already: they are moved once
            try:
                replace(method, regulariser=RegulariserConfig()).build(2)  # whose classes are not known yet
            except ValueError as error:
                raise ValueError(f"variant {each.name}: {error}") from error


def _network(method: Segment) -> str:
    from fastseg.methods.start import STITCHED

    how = method.transfer
    name = method.network_name()
    return f"{STITCHED[how.share]}/{name}" if how.mode == "cross_stitch" else name


def _check_init(variant: Variant) -> None:
    name, init, how = variant.name, variant.init, variant.transfer
    if not init and (how.freeze or how.mode != "all"):
        raise ValueError(f"variant {name}: transfer.mode {how.mode}, freeze {how.freeze} need trained weights: init")
    if init and not init.startswith((STAGE, TIMM, TORCHVISION)) and not Path(init).exists():
        ways = "or timm:NAME, torchvision:NAME"
        raise ValueError(f"variant {name}: init {init}: no such checkpoint folder or weights file ({ways})")


def _check_images(name: str, method: Segment) -> int:
    """The number of images of the split that a variant trains on."""
    if not method.loop.eval_every:
        raise ValueError(f"variant {name}: loop.eval_every must be set: a study compares scores by epoch")
    if ":" in method.split:
        raise ValueError(f"variant {name}: split {method.split!r}: numbers of images are the study's, in counts")
    method.validation()
    return len(method.examples())
