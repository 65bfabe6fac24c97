"""What a study still has to run: label runs, pre-trainings, searches and cells, each a program with its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastseg.compare_search import Choice, choose
from fastseg.compare_study import (
    Study,
    Variant,
    cells,
    digest,
    is_searched,
    plain,
    pretraining_of,
    stages_of,
)  # fmt: skip
from fastseg.journal import records
from fastseg.methods.segment import Segment
from fastseg.same_config import defaults, differing, flat
from fastseg.train import METHODS

LABELS = "pipelines.make_hn_labels"
TRAIN = "fastseg.train"
RATE = re.compile(r"[\d.]+(e-\d+)?")  # a learning rate as it stands in a task's name
FREE = {"out", "resume", "loop.device", "loop.workers", "loop.threads", "loop.save_every", "loop.log_every"}


@dataclass(frozen=True)
class Task:
    """One program to run once.

    name         of its files OUT/tasks/NAME.json and NAME.txt
    program      the module and its verb
    config       its settings
    needs        names of the tasks whose results it takes
    may_diverge  whether exit code 1 (non-finite losses) is a result as well
    """

    name: str
    program: tuple[str, ...]
    config: dict[str, Any]
    needs: tuple[str, ...] = ()
    may_diverge: bool = False


class Plan:
    """A study's tasks in its folder, by what is done so far.

    images   of the split that variants train on
    """

    def __init__(self, study: Study, out: Path, images: int) -> None:
        self.study, self.out, self.images = study, out, images
        self.cells = cells(study, out, images)
        self.pretraining = {each.name: pretraining_of(each, out) for each in study.pretrain}
        (out / "tasks").mkdir(parents=True, exist_ok=True)

    def tasks(self) -> Iterator[Task]:
        """Every task whose settings are known by now, in the order to run them."""
        for stage in self.study.pretrain:
            yield from self._pretraining(stage.name)
        found = {each.name: self.choice(each) for each in self.study.variants if is_searched(self.study, each)}
        for variant in self.study.variants:
            if variant.name in found:
                yield from self._search(variant, found[variant.name])
        for cell in self.cells:
            rate = found[cell.variant].rate if cell.searched else cell.segment.optim.lr
            if rate is not None:
                config = plain(with_rate(cell.segment, rate))
                yield Task(f"cell-{cell.name}", (TRAIN, Segment.name), config, self._stage(cell.variant))

    def ready(self) -> list[Task]:
        """What can be run now. ValueError: what was run before had other settings."""
        tasks = list(self.tasks())
        done = {task.name for task in tasks if self.is_done(task)}
        return [task for task in tasks if task.name not in done and done.issuperset(task.needs)]

    def is_done(self, task: Task) -> bool:
        """Whether the task has ended well. ValueError: it was begun with other settings, which are named."""
        begun = self.record(task.name)
        if not begun:
            return False
        method = METHODS.get(task.program[-1])  # none for a label run: its own fingerprint guards it
        absent = defaults(method) if method else {}
        for key, was, now in differing(begun["config"], task.config, FREE, absent):
            raise ValueError(
                f"{task.name} was run with {key} {was!r}, and the study now says {now!r}: "
                f"give another --out, or delete {self.path(task.name)} and {task.config['out']}"
            )
        if begun["after"] != self._after(task):
            raise ValueError(
                f"{task.name} began from a pre-training that was run again since: delete {self.path(task.name)} and "
                f"{task.config['out']} to run it again as well"
            )
        return begun["code"] is not None

    def begin(self, task: Task) -> Path:
        """The file of the task's settings, for its --config; the task counts as begun with them."""
        self._write(task, None)
        path = self.path(task.name).with_suffix(".config.json")
        path.write_text(json.dumps(task.config, indent=1) + "\n")
        return path

    def end(self, task: Task, code: int) -> None:
        """None; the task counts as done and is never run again."""
        self._write(task, code)

    def path(self, name: str) -> Path:
        return self.out / "tasks" / f"{name}.json"

    def record(self, name: str) -> dict[str, Any]:
        """What is written of a task: config, after, code (None while not done), run; {} when it was never begun."""
        try:
            found: dict[str, Any] = json.loads(self.path(name).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ValueError(f"{self.path(name)} is damaged ({error}); delete it to run {name} again") from error
        return found

    def choice(self, variant: Variant) -> Choice:
        """Where the variant's search for a rate stands."""
        scores: dict[float, float] = {}
        for record in self._tried(variant):
            if record["code"] is not None:
                rate = float(record["config"]["optim"]["lr"])
                scores[rate] = score(Path(record["config"]["out"])) if record["code"] == 0 else float("nan")
        try:
            return choose(scores, self.study.search.lowest, self.study.search.highest)
        except ValueError as error:
            raise ValueError(f"the search of variant {variant.name}: {error}") from error

    def _pretraining(self, name: str) -> Iterator[Task]:
        stage = next(each for each in self.study.pretrain if each.name == name)
        made = []
        for index, fields in enumerate(stage.labels):
            folder = self.out / "pretrain" / name / "labels" / f"{index}-{fields.get('reader', '')}"
            made.append(f"pretrain-{name}-labels-{index}")
            yield Task(made[-1], (LABELS,), plain({**fields, "out": str(folder)}))
        config = plain(self.pretraining[name])
        yield Task(f"pretrain-{name}", (TRAIN, stage.method), config, tuple(made))

    def _search(self, variant: Variant, choice: Choice) -> Iterator[Task]:
        """The short trainings, those done before as well, so that their settings are compared."""
        steps = self.study.search.steps
        method = next(cell.segment for cell in reversed(self.cells[: self._per_seed()]) if cell.variant == variant.name)
        tried = [float(record["config"]["optim"]["lr"]) for record in self._tried(variant)]
        for rate in dict.fromkeys([*tried, *choice.to_try]):
            name = f"search-{variant.name}-{rate:g}"
            loop = replace(method.loop, eval_every=steps)
            folder = self.out / "search" / variant.name / f"{rate:g}"
            short = with_rate(replace(method, out=folder, steps=steps, loop=loop), rate)
            yield Task(name, (TRAIN, Segment.name), plain(short), self._stage(variant.name), may_diverge=True)

    def _per_seed(self) -> int:
        return len(self.cells) // len(self.study.seeds)

    def _tried(self, variant: Variant) -> list[dict[str, Any]]:
        """The records of the variant's search; the names of other variants may begin with this one's."""
        prefix = f"search-{variant.name}-"
        names = sorted(path.stem for path in self.path("x").parent.glob(f"{prefix}*.json"))
        return [self.record(name) for name in names if RATE.fullmatch(name.removeprefix(prefix))]

    def _stage(self, variant: str) -> tuple[str, ...]:
        chosen = next(each for each in self.study.variants if each.name == variant)
        return tuple(f"pretrain-{name}" for name in stages_of(self.study, chosen))

    def _after(self, task: Task) -> list[str]:
        """What the task's needs are, by their runs: run again, they are others."""
        return [str(self.record(name).get("run", "")) for name in task.needs]

    def _write(self, task: Task, code: int | None) -> None:
        import os

        after = self._after(task)
        run = digest([task.program, {k: v for k, v in flat(task.config).items() if k not in FREE}, after])
        path = self.path(task.name)
        temp = path.with_suffix(".part")
        temp.write_text(json.dumps({"config": task.config, "after": after, "run": run, "code": code}, indent=1) + "\n")
        os.replace(temp, path)


def with_rate(method: Segment, rate: float) -> Segment:
    """The same training at another learning rate."""
    return replace(method, optim=replace(method.optim, lr=rate))


def score(folder: Path) -> float:
    """The last mIoU in a run's metrics.jsonl; NaN when there is none."""
    found = curve(folder)
    return float(found[-1]["miou"]) if found and found[-1]["miou"] is not None else float("nan")


def curve(folder: Path) -> list[dict[str, Any]]:
    """The evaluations in a run's metrics.jsonl, in order: step, miou, global_accuracy, class_accuracy."""
    return [found for found in records(folder / "metrics.jsonl") if "miou" in found]
