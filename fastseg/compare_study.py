"""What a study is: variants, numbers of labelled images and seeds, read from a YAML file into typed cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from fastseg.cli import typed
from fastseg.compare_yaml import read_yaml
from fastseg.methods import TransferConfig
from fastseg.methods.hn import HN
from fastseg.methods.segment import Segment
from fastseg.train import METHODS, Trained

SEARCH = "search"
STAGE = "pretrain:"
OWN = {"out", "resume", "seed"}  # what the study itself says


@dataclass(frozen=True)
class Variant:
    """One way to begin and to go on.

    name        of the variant, one word
    init        pretrain:NAME, or what --init-from of `fastseg train segment` takes; empty = random weights
    transfer    which of these weights come over, what stays frozen, cross-stitch
    fields      fields of segment that are this variant's own; `regulariser: {autoencoder: pretrain:NAME}` too is one of
                the study's pre-trainings
    """

    name: str
    init: str = ""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pretrain:
    """A pre-training that variants share.

    name        of the pre-training, one word
    method      of `fastseg train`
    labels      of hn: fields of `python -m pipelines.make_hn_labels`, a mapping for each corpus to label first; with
                them, `fields` needs no root
    fields      fields of the method
    """

    name: str
    method: str = HN.name
    labels: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"pretrain {self.name}: method is one of {', '.join(METHODS)}; got {self.method}")
        if self.labels and self.method != HN.name:
            raise ValueError(f"pretrain {self.name}: labels are of method {HN.name}; {self.method} takes none")
        for each in self.labels:
            if not {"reader", "root"} <= each.keys() or "out" in each:
                raise ValueError(f"pretrain {self.name}: labels take reader and root, and not out; got {sorted(each)}")


@dataclass(frozen=True)
class Search:
    """How `optim: {lr: search}` picks a rate out of {5, 2, 1} x 10^-n.

    steps       of each short training
    highest     the rate to begin from, downwards to `lowest`
    lowest      the range grows on the side where the best rate is its edge
    """

    steps: int = 200
    highest: float = 1e-2
    lowest: float = 2e-4

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.lowest < self.highest <= 1:
            raise ValueError("search needs steps of at least 1 and 0 < lowest < highest <= 1")


@dataclass(frozen=True)
class Study:
    """A comparison: every variant on every number of labelled images with every seed.

    name        of the study
    segment     fields of `fastseg train segment` that all variants share
    variants    what is compared
    pretrain    pre-trainings that variants begin from, each run once
    fractions   shares of the training images, each in (0, 1]
    counts      numbers of training images, beside or instead of fractions
    seeds       of each variant and number of images
    search      how a rate is found where a variant says `optim: {lr: search}`
    order       names of variants from the best down, as somebody else found them: whether it holds here is reported
    """

    name: str
    segment: dict[str, Any]
    variants: list[Variant]
    pretrain: list[Pretrain] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    search: Search = field(default_factory=Search)
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _once("variant", [each.name for each in self.variants])
        _once("pretrain", [each.name for each in self.pretrain])
        _once("seed", [str(seed) for seed in self.seeds])
        if not self.variants or not self.seeds:
            raise ValueError("a study needs at least one variant and one seed")
        for share in self.fractions:
            if not 0 < share <= 1:
                raise ValueError(f"fractions lie in (0, 1]; got {share:g}")
        for count in self.counts:
            if count < 1:
                raise ValueError(f"counts are numbers of images from 1 on; got {count}")
        self._check_names()

    def _check_names(self) -> None:
        """None; ValueError for a name of a pre-training or a variant that is not there."""
        names, known = [each.name for each in self.variants], [each.name for each in self.pretrain]
        if len(self.order) == 1 or len(set(self.order)) < len(self.order) or not set(self.order) <= set(names):
            raise ValueError(f"order lists two or more of the variants {names}, each once; got {self.order}")
        for variant in self.variants:
            for stage in stages_of(self, variant):
                if stage not in known:
                    raise ValueError(
                        f"variant {variant.name} begins from pre-training {stage!r}; there is {known or 'none'}"
                    )


@dataclass(frozen=True)
class Cell:
    """One training of the study: its folder's name, its variant, how many labelled images, its seed, its settings."""

    name: str
    variant: str
    images: int
    seed: int
    segment: Segment
    searched: bool  # whether segment.optim.lr still stands for a rate to be found


def read_study(path: Path) -> Study:
    """The study in a YAML file; ValueError with one sentence for a key or value that does not belong there."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected lines `name: ...`, `segment: ...`, `variants: ...`")
    return typed(Study, values, str(path))


def _once(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name} stands there twice")
        if not name or not all(char.isalnum() or char in "_-." for char in name) or name.startswith("."):
            raise ValueError(f"{what} {name!r}: a name is one word of letters, digits, _, - and .")


def method_of(study: Study, variant: Variant, out: Path, seed: int) -> Segment:
    """The settings of a variant's training; a rate still to be found stands at its default."""
    _no_own({**study.segment, **variant.fields}, f"variant {variant.name}", OWN | {"init_from", "transfer"})
    values = _merged(study.segment, variant.fields)
    if is_searched(study, variant):
        values["optim"] = {key: value for key, value in values["optim"].items() if key != "lr"}
    begin = _place(variant.init, out)
    values |= {"out": str(out), "seed": seed, "resume": True, "init_from": begin, "transfer": asdict(variant.transfer)}
    if isinstance(values.get("regulariser"), Mapping) and "autoencoder" in values["regulariser"]:
        autoencoder = _place(str(values["regulariser"]["autoencoder"]), out)
        values["regulariser"] = {**values["regulariser"], "autoencoder": autoencoder}
    return typed(Segment, values, f"variant {variant.name}")


def stages_of(study: Study, variant: Variant) -> list[str]:
    """The names of the pre-trainings that a variant takes: where it begins, and its regulariser's autoencoder."""
    regulariser = _merged(study.segment, variant.fields).get("regulariser")
    autoencoder = str(regulariser.get("autoencoder", "")) if isinstance(regulariser, Mapping) else ""
    return [name.removeprefix(STAGE) for name in (variant.init, autoencoder) if name.startswith(STAGE)]


def _place(name: str, out: Path) -> str:
    """Where the run of a pre-training lies, for pretrain:NAME; any other name as it stands."""
    return str(out / "pretrain" / name.removeprefix(STAGE) / "run") if name.startswith(STAGE) else name


def pretraining_of(stage: Pretrain, out: Path) -> Trained:
    """The settings of a pre-training; its images are those of its label runs where it has some."""
    _no_own(stage.fields, f"pretrain {stage.name}", OWN - {"seed"})
    folder = out / "pretrain" / stage.name
    values = {**stage.fields, "out": str(folder / "run"), "resume": True}
    if stage.labels:
        values["root"] = str(folder / "labels")
    method: type[Trained] = METHODS[stage.method]
    return typed(method, values, f"pretrain {stage.name}")


def is_searched(study: Study, variant: Variant) -> bool:
    """Whether the variant's rate is to be found."""
    optim = _merged(study.segment, variant.fields).get("optim")
    return isinstance(optim, Mapping) and optim.get("lr") == SEARCH


def amounts(study: Study, images: int) -> list[int]:
    """The numbers of labelled images, ascending, of a split of so many; ValueError when that is too few."""
    for count in study.counts:
        if count > images:
            raise ValueError(f"counts asks for {count} labelled images; the split has {images}")
    shares = study.fractions if study.fractions or study.counts else [1.0]
    return sorted({*study.counts, *(max(1, round(share * images)) for share in shares)})


def cells(study: Study, out: Path, images: int) -> list[Cell]:
    """Every training of the study, seed by seed, so that a comparison stands early and each seed sharpens it."""
    methods = [(variant, method_of(study, variant, out, study.seeds[0])) for variant in study.variants]
    found = []
    for seed in study.seeds:
        for count in amounts(study, images):
            for variant, method in methods:
                name = f"{variant.name}-{count}-{seed}"
                split = method.split if count == images else f"{method.split}:{count}"
                segment = replace(method, out=out / "cells" / name, split=split, seed=seed)
                found.append(Cell(name, variant.name, count, seed, segment, is_searched(study, variant)))
    return found


def _no_own(values: Mapping[str, Any], where: str, own: Iterable[str]) -> None:
    for key in own:
        if key in values:
            raise ValueError(f"{where}: {key} is the study's to say, not a field of its own")


def _merged(first: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second's values over the first's."""
    result = dict(first)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def plain(config: Any) -> Any:
    """A configuration as JSON takes it, paths as they were given."""
    values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    return json.loads(json.dumps(values, default=str))


def digest(values: Any) -> str:
    """The SHA-256 (hex) of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
