"""Train a network: `python -m fastseg.train hn|segment|classify --root ... --out ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastseg.cli import run
from fastseg.frames import LabelledImages
from fastseg.methods import Method
from fastseg.methods.classify import Classify
from fastseg.methods.hn import HN
from fastseg.methods.segment import Segment

if TYPE_CHECKING:
    import torch

    from fastseg.loop import Run
    from fastseg.transfer import Transfer

SURVEY = 2000
METHODS: dict[str, type[HN] | type[Segment] | type[Classify]] = {
    HN.name: HN, Segment.name: Segment, Classify.name: Classify
}  # fmt: skip


def main(config: Method) -> int:
    """The exit code of training with `config`, on the data that it names."""
    return fit(config, config.examples(), config.validation())


def fit(method: Method, examples: LabelledImages, validation: LabelledImages | None = None) -> int:
    """The exit code of training on `examples`, evaluated on `validation` every loop.eval_every steps.

    0 done; 1 non-finite losses; 143, 130 stopped by SIGTERM, SIGINT after saving.
    Writes OUT/checkpoint-<step>/, latest, config.json, data.json, metrics.jsonl; of transferred weights, transfer.json.
    ValueError before the first step: data, network or folder that do not fit together.
    """
    import torch

    from fastseg.journal import Journal
    from fastseg.loop import train_steps
    from fastseg.resume import data_fingerprint, save_run

    if method.loop.threads:
        torch.set_num_threads(method.loop.threads)
    pixels = survey(examples, method)
    fingerprint, names = data_fingerprint(examples), tuple(examples.class_names)
    if validation is not None and tuple(validation.class_names) != names:
        raise ValueError(f"loop.eval_split {method.loop.eval_split} has other classes than the images to train on")
    state = _begin(method, examples, fingerprint, pixels)
    first = state.step
    score = (lambda: _score(state, validation)) if validation is not None and method.loop.eval_every else None
    with Journal(method.out / "metrics.jsonl", first, method.steps, method.name) as journal:
        if first >= method.steps:
            journal.say(f"{method.out} is trained already: {first} of {method.steps} steps")
            return 0
        _write_json(method.out / "config.json", method)
        counted = {"images": len(examples), "classes": len(names), "fingerprint": fingerprint}
        (method.out / "data.json").write_text(json.dumps(counted, indent=1) + "\n")  # for the model card
        stream = method.batches(examples, first)
        return train_steps(state, stream, journal, lambda: _keep(save_run(state, names, fingerprint)), score)


def _keep(path: Path) -> None:
    """Saving gives the folder back; the loop has no use for it."""


def _begin(method: Method, examples: LabelledImages, fingerprint: str, pixels: torch.Tensor) -> Run:
    """The run at its first step, or where its last good checkpoint left it."""
    from fastseg.loop import Run, chosen_device
    from fastseg.losses import median_frequency_weights
    from fastseg.resume import check_same, earlier, go_on

    device = chosen_device(method.loop.device)
    found = earlier(method)
    if found is not None:
        check_same(method, found, fingerprint)
    begun = method.build(len(examples.class_names))
    if begun.transfer is not None and found is None:
        _report(begun.transfer, method.out)
    weight = median_frequency_weights(pixels).to(device) if method.optim.class_weights == "median" else None
    state = Run(method, begun.net, begun.network, begun.normalisation, device, weight)
    if found is not None:
        go_on(state, found)
        print(f"resuming {found.path} at step {state.step}", flush=True)
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
        raise ValueError(f"--batch {method.batch} needs at least as many labelled images; there are {len(names)}")
    every = method.optim.class_weights == "median" or len(names) <= SURVEY
    indices = range(len(names)) if every else np.linspace(0, len(names) - 1, SURVEY).astype(int).tolist()
    pixels = sum((check_classes(examples[i][1], classes, names[i]) for i in indices), np.zeros(classes, np.int64))
    if not pixels.any():
        raise ValueError(f"no pixel of the {len(names)} labelled images has a class: all are 255 (ignore)")
    return torch.from_numpy(pixels)


def _report(moved: Transfer, out: Path) -> None:
    """Print which weights went where, and keep it as OUT/transfer.json."""
    from rich.console import Console

    Console().print(moved.table())
    out.mkdir(parents=True, exist_ok=True)
    (out / "transfer.json").write_text(json.dumps(moved.as_json(), indent=1) + "\n")


def _score(state: Run, validation: LabelledImages) -> dict[str, Any]:
    from fastseg.evaluate import confusion_of
    from fastseg.methods import parse_size
    from fastseg.metrics import scores

    with state.autocast():
        if isinstance(state.method, Classify):
            return state.method.score(state.net, validation, state.normalisation)
        counts = confusion_of(
            state.net, validation, parse_size(state.method.size), state.normalisation, state.method.batch
        )
    result = scores(counts)
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
