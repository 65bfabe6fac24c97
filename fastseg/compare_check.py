"""Everything about a study that can be known before its first step."""

from __future__ import annotations

from pathlib import Path

from fastseg.compare_plan import Plan
from fastseg.compare_run import checkout
from fastseg.compare_study import STAGE, Study, is_searched, method_of
from fastseg.methods.segment import Segment
from fastseg.weights import TIMM


def checked(study: Study, out: Path) -> Plan:
    """The study's plan. ValueError or OSError, one sentence: data, weights, networks or settings that cannot be."""
    methods = {each.name: method_of(study, each, out, study.seeds[0]) for each in study.variants}
    for variant in study.variants:
        _check_init(variant.name, variant.init)
        if is_searched(study, variant) and methods[variant.name].loop.eval_split == "test":
            raise ValueError(f"variant {variant.name}: lr: search picks by the validation images; eval_split is test")
    images = {name: _check_images(name, method) for name, method in methods.items()}
    if len(set(images.values())) > 1:
        raise ValueError(f"the variants train on different numbers of images: {images}")
    if any(stage.labels for stage in study.pretrain):
        checkout()
    plan = Plan(study, out, next(iter(images.values())))
    for task in plan.tasks():
        plan.is_done(task)
    return plan


def _check_init(name: str, init: str) -> None:
    if init and not init.startswith((STAGE, TIMM)) and not Path(init).exists():
        raise ValueError(f"variant {name}: init {init}: no such checkpoint folder or weights file (or timm:NAME)")


def _check_images(name: str, method: Segment) -> int:
    """The number of images of the split that a variant trains on."""
    from fastseg.data.sources import open_labelled

    if not method.loop.eval_every:
        raise ValueError(f"variant {name}: loop.eval_every must be set: a study compares scores by epoch")
    if ":" in method.split:
        raise ValueError(f"variant {name}: split {method.split!r}: numbers of images are the study's, in counts")
    open_labelled(method.data, method.root, method.loop.eval_split)
    return len(open_labelled(method.data, method.root, method.split))
