"""Train a network: `python -m fastseg.train METHOD --root ... --out ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastseg.cli import run
from fastseg.frames import LabelledImages
from fastseg.methods import Method
from fastseg.methods.classify import Classify
from fastseg.methods.gating import DepthGating
from fastseg.methods.hn import HN
from fastseg.methods.monodepth import Monodepth
from fastseg.methods.pssl import PSSL
from fastseg.methods.segment import Few, FewFrames, Segment
from fastseg.methods.structure import LabelStructure

if TYPE_CHECKING:
    import torch

    from fastseg.distributed import Group
    from fastseg.loop import Run
    from fastseg.stop import StopRequest
    from fastseg.transfer import Transfer

SURVEY = 2000
Trained = HN | Segment | Classify | Monodepth | DepthGating | LabelStructure | PSSL
METHODS: dict[str, type[Trained]] = {
    method.name: method for method in (HN, Segment, Classify, Monodepth, DepthGating, LabelStructure, PSSL)
}


def main(config: Method) -> int:
    """The exit code of training with `config`, on the data that it names; stage by stage where it has several."""
    return in_stages(config, lambda stage: fit(stage, stage.examples(), stage.validation()))


def in_stages(config: Method, fitted: Callable[[Method], int]) -> int:
    """The exit code of `fitted` for each stage of a training in order: 0, or the first other. Most have one stage."""
    stages = config.plan() if isinstance(config, DepthGating) else []
    if len(stages) < 2:
        return fitted(config)
    for number, stage in enumerate(stages, 1):
        print(f"stage {number} of {len(stages)}: {stage.stages[0]} into {stage.out}", flush=True)
        code = fitted(stage)
        if code:
            return code
    return 0


def fit(method: Method, examples: LabelledImages, validation: LabelledImages | None = None) -> int:
    """The exit code of training on `examples`, evaluated on `validation` every loop.eval_every steps.

    0 done; 1 non-finite losses; 143, 130 stopped by SIGTERM, SIGINT after saving.
    Writes OUT/checkpoint-<step>/, latest, config.json, data.json, metrics.jsonl; of transferred weights, transfer.json.
    ValueError before the first step: data, network or folder that do not fit together.
    """
    import torch

    from fastseg.distributed import process_group
    from fastseg.exact import exact
    from fastseg.loop import chosen_device
    from fastseg.trackers import tracking_module

    tracking_module(method.loop.track)
    if method.loop.threads:
        torch.set_num_threads(method.loop.threads)
    with exact(method.loop.deterministic), process_group(chosen_device(method.loop.device)) as group:
        return _fit(method, examples, validation, group)


def _fit(method: Method, examples: LabelledImages, validation: LabelledImages | None, group: Group) -> int:
    from fastseg.journal import Journal
    from fastseg.loop import train_steps
    from fastseg.resume import data_fingerprint, plain_config
    from fastseg.stitches import draw_stitches
    from fastseg.trackers import tracking

    group.check_batch(method.batch, method.optim.accumulate)
    pixels = survey(examples, method)
    fingerprint, names = data_fingerprint(examples), tuple(examples.class_names)
    if validation is not None and tuple(validation.class_names) != names:
        raise ValueError(f"loop.eval_split {method.loop.eval_split} has other classes than the images to train on")
    if validation is not None and not len(validation):
        raise ValueError(f"loop.eval_split {method.loop.eval_split} holds no labelled image to evaluate on")
    state = _begin(method, examples, fingerprint, pixels, group)
    first = state.step
    if first >= method.steps and not state.unscored:
        print(f"{method.out} is trained already: {first} of {method.steps} steps", flush=True)
        return 0
    score = (
        (lambda stop: _score(state, validation, stop)) if validation is not None and method.loop.eval_every else None
    )
    figures, track = (method.out / "metrics.jsonl", method.loop.track) if group.first else (None, "none")
    with (
        tracking(track, method.out, plain_config(method), first) as tracker,
        Journal(figures, first, method.steps, method.name, tracker) as journal,
    ):
        if group.first:
            _write_json(method.out / "config.json", method)
            counted = {"images": len(examples), "classes": len(names), "fingerprint": fingerprint}
            (method.out / "data.json").write_text(json.dumps(counted, indent=1) + "\n")  # for the model card
        stream = method.batches(examples, first, group.rank, group.world)
        code = train_steps(state, stream, journal, lambda: _save(state, names, fingerprint), score)
    if group.first and isinstance(method, Monodepth):
        _keep_camera(state, examples)
    if group.first and (drawn := draw_stitches(method.out)) is not None:
        print(f"{drawn} shows what each pooling took from the fixed encoder", flush=True)
    return code


def _save(state: Run, names: tuple[str, ...], fingerprint: str) -> None:
    """None, once the first process has saved: no other goes on, or ends, before."""
    from fastseg.methods.regulariser import keep_proof
    from fastseg.resume import save_run

    if state.group.first:
        save_run(state, names, fingerprint)
        keep_proof(state.net, state.method.out)
    state.group.wait()


def _keep_camera(state: Run, examples: LabelledImages) -> None:
    """None; the camera that was learned, where one was, is printed and written."""
    from fastseg.methods.depth_camera import keep_camera

    with state.best():
        said = keep_camera(state.net, examples, state.method.out)
    if said:
        print(said, flush=True)


def _begin(method: Method, examples: LabelledImages, fingerprint: str, pixels: torch.Tensor, group: Group) -> Run:
    """The run at its first step, or where its last good checkpoint left it."""
    from fastseg.distributed import digest
    from fastseg.loop import Run
    from fastseg.losses import median_frequency_weights
    from fastseg.methods.regulariser import proof_of
    from fastseg.nets.rank_norm import over_ranks
    from fastseg.resume import check_same, earlier, go_on

    found = earlier(method)
    if found is not None:
        check_same(method, found, fingerprint)
    if found is not None and method.init_from:  # what it started from may be gone since, and is not needed any more
        begun = replace(method, init_from=str(found.path)).build(len(examples.class_names))  # type: ignore[type-var]
    else:
        begun = method.build(len(examples.class_names))
    if begun.class_names and begun.class_names != tuple(examples.class_names):
        raise ValueError(
            f"the label autoencoder was trained on the classes {', '.join(begun.class_names)}, and these images have "
            f"{', '.join(examples.class_names)}"
        )
    if begun.transfer is not None and found is None and group.first:
        _report(begun.transfer, method.out)
    weight = median_frequency_weights(pixels).to(group.device) if method.optim.class_weights == "median" else None
    if isinstance(method, PSSL):
        weight = method.weights(len(pixels)).to(group.device)
    net = begun.net if group.world == 1 else over_ranks(begun.net, group.device.type == "cuda")
    state = Run(method, net, begun.network, begun.normalisation, group, weight)
    if found is not None:
        go_on(state, found)
        proof_of(state.net)
        print(f"resuming {found.path} at step {state.step}", flush=True)
    if group.world > 1:
        group.check_same({"the step": state.step, "the data": fingerprint, "the weights": digest(state.net)})
    return state


def survey(examples: LabelledImages, method: Method) -> torch.Tensor:
    """Labelled pixels of each class (classes,) int64, counted before the first step.

    Up to 2,000 labels spread over the set are read (all of them for class weights); the rest are checked as they come.
    ValueError: fewer images than a batch, a label beyond the classes (by its id), or nothing labelled.
    """
    import numpy as np
    import torch

    from fastseg.data.batches import check_classes

    names, classes = examples.ids(), len(examples.class_names)
    if len(names) < method.batch:
        raise ValueError(f"--batch {method.batch} needs at least as many images; there are {len(names)}")
    every = method.optim.class_weights == "median" or len(names) <= SURVEY
    indices = range(len(names)) if every else np.linspace(0, len(names) - 1, SURVEY).astype(int).tolist()
    pixels = sum((check_classes(examples[i][1], classes, names[i]) for i in indices), np.zeros(classes, np.int64))
    if not pixels.any():
        raise ValueError(f"no pixel of the {len(names)} labelled images has a class: all are 255 (ignore)")
    if every and (empty := [name for name, count in zip(examples.class_names, pixels, strict=True) if not count]):
        print(f"{len(empty)} of {classes} classes have no pixel to learn from: {', '.join(empty[:8])}", flush=True)
    return torch.from_numpy(pixels)


def _report(moved: Transfer, out: Path) -> None:
    """Print which weights went where, and keep it as OUT/transfer.json."""
    from rich.console import Console

    Console().print(moved.table())
    out.mkdir(parents=True, exist_ok=True)
    (out / "transfer.json").write_text(json.dumps(moved.as_json(), indent=1) + "\n")


def _score(state: Run, validation: LabelledImages, stop: StopRequest) -> dict[str, Any]:
    import numpy as np

    from fastseg.evaluate import confusion_of
    from fastseg.methods import parse_size
    from fastseg.metrics import scores
    from fastseg.stop import Watched, WatchedFrames

    alone = state.group.world == 1  # several processes stop together, after the evaluation
    measured = hasattr(validation, "depth")
    share = () if alone else state.group.share(len(validation))
    watch, few = (WatchedFrames, FewFrames) if measured else (Watched, Few)
    mine: LabelledImages = watch(validation, stop) if alone else few(validation, share)
    if isinstance(state.method, Classify):
        with state.best(), state.autocast():
            ranked = state.group.total_counts(state.method.ranked(state.net, mine, state.normalisation))
        return {"top1": float(ranked[0] / ranked[2]), "top5": float(ranked[1] / ranked[2])}
    size, classes = parse_size(state.method.size), len(validation.class_names)
    counts = np.zeros((classes, classes), np.int64)
    if len(mine):
        with state.best(), state.autocast():
            counts = confusion_of(state.net, mine, size, state.normalisation, state.method.batch)
    result = scores(state.group.total_counts(counts))
    return {"miou": result.miou, "global_accuracy": result.global_accuracy, "class_accuracy": result.class_accuracy}


def _write_json(path: Path, method: Method) -> None:
    from fastseg.resume import plain_config

    path.write_text(json.dumps(plain_config(method), indent=1) + "\n")  # as `--config` takes it


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg train METHOD ...`: the first argument names the method, the rest are its fields."""
    words = list(sys.argv[1:] if argv is None else argv)
    method = METHODS.get(words[0]) if words else None
    if method is None:
        asked = words[:1] in (["-h"], ["--help"])
        print(f"usage: fastseg train {'|'.join(METHODS)} [--help] ...", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return run(method, main, words[1:], prog=f"fastseg train {words[0]}")


if __name__ == "__main__":
    sys.exit(cli())
