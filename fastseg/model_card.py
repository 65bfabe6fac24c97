"""MODEL_CARD.md: what stands beside an exported network, so that whoever finds it knows what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastseg.checkpoint import Checkpoint, CheckpointError, load
from fastseg.inference_depth import depth_limits, in_metres, predicts_depth
from fastseg.journal import records
from fastseg.weights import history

DEPTH_SCORES = ("rel", "sq_rel", "rmse", "rmse_log", "log10", "delta1", "delta2", "delta3")
SCORES = ("miou", "global_accuracy", "class_accuracy", "image_miou", "boundary_f", "top1", "top5", *DEPTH_SCORES)


def model_card(found: Checkpoint, licence: str = "", scores: Path | None = None) -> str:
    """Markdown: the network, where its weights came from, data and rejected frames, scores, settings, licence.

    licence   of the weights; empty = the card names the sets and weights whose terms have to be looked up
    scores    what `fastseg evaluate --json` wrote, beside the scores taken while training

    ValueError or OSError: `scores` cannot be read, or is no such file.
    """
    record = found.record
    config = dict(record.config)
    story = history(config)
    rows = [
        ("network", record.network), _output(found),
        ("method", record.method), ("steps", f"{record.step}, batch {config.get('batch')}"),
        ("image size", "x".join(map(str, record.size))),
        ("normalisation", f"mean {record.normalisation.mean}, std {record.normalisation.std}, of RGB in [0, 1]"),
        ("started from", ", which was started from ".join(story) or "random weights"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    settings = json.dumps(config, indent=1, sort_keys=True)
    return (
        f"# {record.network}, step {record.step}\n\n| | |\n|---|---|\n{table}\n\n"
        f"## Data\n\n{''.join(f'- {line}' + chr(10) for line in _data(found, story))}\n"
        f"## Scores\n\n{_scores(found, scores)}\n"
        f"## Licence\n\n{licence or _terms(found, story)}\n\n## Settings\n\n```json\n{settings}\n```\n"
    )


def _output(found: Checkpoint) -> tuple[str, str]:
    """The row that says what the network gives for an image."""
    if predicts_depth(found):
        nearest, farthest = depth_limits(found)
        unit = "metres" if in_metres(found) else "units of one unknown length: video does not tell the scale"
        return "depth", f"{nearest:g} to {farthest:g} {unit}; of the onnx and torch forms (N, H, W) float32"
    return "classes", f"{len(found.record.classes)}: {', '.join(found.record.classes)}"


def _data(found: Checkpoint, story: tuple[str, ...]) -> Iterator[str]:
    """A line for the run's own data, then one for each run before it that is still there."""
    yield _of_run(found.record.method, found.record.config, found.path.parent)
    for name in story:
        if Path(name).is_dir():
            try:
                earlier = load(Path(name))
            except CheckpointError:
                return
            yield _of_run(earlier.record.method, earlier.record.config, earlier.path.parent)


def _of_run(method: str, config: Mapping[str, Any], out: Path) -> str:
    """What a run was trained on: the set, images and classes' pixels that it counted, frames that were rejected."""
    root = str(config.get("root", "unknown"))
    split = f", split {config['split']}" if config.get("split") else ""
    parts = [f"{method}: {config.get('data', 'images')} at {root}{split}"]
    if (counted := _read(out / "data.json")) is not None:
        parts.append(f"{counted.get('images')} images in {counted.get('classes')} classes")
    if (run := _read(Path(root) / "run.json")) is not None:
        counts = run.get("counts") or {}
        rejected = ", ".join(f"{name} {count}" for name, count in (counts.get("rejected") or {}).items()) or "none"
        parts.append(f"{counts.get('labels')} of {counts.get('frames')} frames were labelled; rejected: {rejected}")
    return "; ".join(parts) + "."


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return found


def _scores(found: Checkpoint, given: Path | None) -> str:
    """The last scores taken while training up to this step, and those of a given file with their classes."""
    lines = []
    for record in records(found.path.parent / "metrics.jsonl"):
        if any(name in record for name in SCORES) and record["step"] <= found.record.step:
            lines = [f"- in training, step {record['step']}: {_figures(record)}"]
    if given is not None:
        values = _read(given)
        if values is None or not any(name in values for name in SCORES):
            raise ValueError(f"{given}: expected the scores that `fastseg evaluate --json` writes")
        where = values.get("protocol", {})
        lines.append(f"- {where.get('data')} {where.get('split')}, {where.get('images')} images: {_figures(values)}")
        lines += [f"  - {each['class']}: IoU {each['iou']}" for each in values.get("per_class", ())]
    return "\n".join(lines or ["- none were taken"]) + "\n"


def _figures(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {values[name]}" for name in SCORES if values.get(name) is not None)


def _terms(found: Checkpoint, story: tuple[str, ...]) -> str:
    sets = [str(found.record.config.get("root", "unknown")), *story]
    return (
        "Not stated. The weights inherit the terms of the images, labels and published weights they were trained from: "
        f"{', '.join(sets)}. fastseg's own licence (Apache-2.0) covers its code alone."
    )
