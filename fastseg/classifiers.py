"""Classifiers to be explained: a list of them in a JSON file, opened as members of a PSSL ensemble."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastseg.classifier_nets import library_net, outputs_of
from fastseg.data.augment import IMAGENET
from fastseg.data.shard_check import file_sha256
from fastseg.weights import read_run

if TYPE_CHECKING:
    from fastseg.checkpoint import Checkpoint
    from fastseg.labels.pssl_member import Member

MAX_LIST_BYTES = 2**22
OWN, ONNX = "fastseg:classify", "onnx"
NEEDS = {OWN: "the folder of a run of `fastseg train classify`", ONNX: "an .onnx file"}
EXAMPLE = '[{"arch": "timm:resnet50", "weights": "resnet50.safetensors"}, {"arch": "torchvision:mobilenet_v2"}]'


@dataclass(frozen=True)
class ClassifierAt:
    """One classifier of a list.

    arch        timm:NAME or torchvision:NAME; fastseg:classify for a run of `fastseg train classify`; onnx
    weights     its weights file (see `fastseg.weights.read_source`); empty = the library's own (a download);
                the run's folder, which says its network, mean, std, size and classes as well; FILE.onnx
    name        what it is called; noise follows from it, so it must be unique; empty = arch
    mean, std   (R, G, B) of an image in [0, 1]; empty = timm's of the architecture, else ImageNet's
    size        pixels of a side of its input; 0 = timm's of the architecture, else 224
    classes     a text file that names its outputs in order, one a line; empty = the data set's classes in their order
    by_order    the weights are those of another implementation: the same tensors in the same order, other names
    """

    arch: str
    weights: str = ""
    name: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int = 0
    classes: str = ""
    by_order: bool = False


def read_classifiers(path: Path) -> tuple[ClassifierAt, ...]:
    """The classifiers in a JSON file; paths in it are relative to its folder. ValueError, OSError: one sentence."""
    try:
        found = json.loads(_small(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON such as {EXAMPLE}; {error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{path}: expected a list of classifiers, such as {EXAMPLE}")
    models = tuple(_classifier(each, path) for each in found)
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: two classifiers are called {twice[0]}; give them a name each")
    return models


def _small(path: Path) -> str:
    if path.stat().st_size > MAX_LIST_BYTES:
        raise ValueError(f"{path}: expected a text of at most {MAX_LIST_BYTES} bytes")
    return path.read_text("utf-8")


def _classifier(stated: Mapping[str, Any], path: Path) -> ClassifierAt:
    known = {each.name: type(each.default) for each in fields(ClassifierAt) if each.name != "arch"} | {"arch": str}
    for key, value in stated.items():
        if key not in known:
            raise ValueError(f"{path}: a classifier has {', '.join(sorted(known))}; got {key!r}")
        if not isinstance(value, list if known[key] is tuple else known[key]) or (known[key] is int and value is True):
            raise ValueError(f"{path}: {key} must be {known[key].__name__}; got {value!r}")
    arch = str(stated.get("arch", ""))
    if arch.partition(":")[0] not in ("timm", "torchvision") and arch not in NEEDS:
        raise ValueError(f"{path}: arch is timm:NAME, torchvision:NAME, {OWN} or {ONNX}; got {stated.get('arch')!r}")
    if arch in NEEDS and not stated.get("weights"):
        raise ValueError(f"{path}: {arch} needs {NEEDS[arch]} as weights")
    given: dict[str, Any] = {key: tuple(v) if known[key] is tuple else v for key, v in stated.items()}
    found = ClassifierAt(**given)
    for key in ("mean", "std"):
        triple = getattr(found, key)
        numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in triple)
        if len(triple) not in (0, 3) or not numbers or (key == "std" and any(value <= 0 for value in triple)):
            raise ValueError(f"{path}: {key} must be three numbers; got {list(triple)}")
    if found.size < 0 or found.size > 4096:
        raise ValueError(f"{path}: size must lie between 1 and 4096; got {found.size}")
    here = {key: str(path.parent / getattr(found, key)) for key in ("weights", "classes") if getattr(found, key)}
    return replace(found, name=found.name or found.arch, **here)  # type: ignore[arg-type]


def described(models: Sequence[ClassifierAt]) -> list[dict[str, Any]]:
    """What decides the labels that these classifiers give: their settings, and the SHA-256 of every file of theirs."""
    found = []
    for model in models:
        stated = asdict(model)
        for key in ("weights", "classes"):
            path = Path(stated[key])
            if model.arch == OWN and key == "weights":
                path = _run(model).path / "checkpoint.json"  # which holds the sums of the tensors
            stated[key] = file_sha256(path) if stated[key] and path.is_file() else stated[key]
        found.append(stated | {"mean": list(model.mean), "std": list(model.std)})
    return found


def read_class_names(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one a line, in order; ValueError for none, an empty line or a name twice."""
    names = tuple(line.strip() for line in _small(path).splitlines())
    if not names or "" in names:
        raise ValueError(f"{path}: expected one class name a line")
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise ValueError(f"{path}: {twice[0]!r} is there twice")
    return names


def open_member(at: ClassifierAt, classes: Sequence[str]) -> Member:
    """The classifier with its weights, its outputs matched with the data set's classes.

    ValueError: an unknown architecture, weights that do not fit, or outputs that are not these classes.
    """
    from fastseg.labels.pssl_member import Member
    from fastseg.nets.onnx_net import read_onnx

    if at.arch == OWN:
        return _trained(at, classes)
    net = read_onnx(Path(at.weights)) if at.arch == ONNX else library_net(at.arch, at.weights, at.by_order)
    about: Mapping[str, Any] = getattr(net, "pretrained_cfg", None) or {}
    mean, std = (tuple(getattr(at, key) or about.get(key) or getattr(IMAGENET, key)) for key in ("mean", "std"))
    size = at.size or int((about.get("input_size") or (3, 224, 224))[-1])
    outputs = outputs_of(net, size, at.name)
    names = read_class_names(Path(at.classes)) if at.classes else ()
    return Member(at.name, net, mean, std, size, _columns(at, names, outputs, classes))


def _run(at: ClassifierAt) -> Checkpoint:
    return read_run(at.weights, at.name)


def _trained(at: ClassifierAt, classes: Sequence[str]) -> Member:
    """The classifier that `fastseg train classify` trained; ValueError for another network, or other classes."""
    from fastseg.inference import restored
    from fastseg.labels.pssl_member import Member
    from fastseg.nets import CLASSIFY

    found = _run(at)
    record = found.record
    if not record.network.startswith(f"{CLASSIFY}/"):
        raise ValueError(f"{at.name}: {found.path} is no run of `fastseg train classify`: it has {record.network}")
    mean, std = (getattr(at, key) or getattr(record.normalisation, key) for key in ("mean", "std"))
    net, size = restored(found), at.size or record.size[0]
    outputs = outputs_of(net, size, at.name)
    names = read_class_names(Path(at.classes)) if at.classes else tuple(record.classes)
    return Member(at.name, net, mean, std, size, _columns(at, names, outputs, classes))


def _columns(at: ClassifierAt, names: Sequence[str], outputs: int, classes: Sequence[str]) -> tuple[int, ...] | None:
    """For each class the output that stands for it; None = the same order. ValueError where that cannot be known."""
    if not names:
        if outputs != len(classes):
            hint = "a file with the names of its outputs (classes, in the list) says which is which"
            raise ValueError(f"{at.name} has {outputs} outputs for {len(classes)} classes; {hint}")
        return None
    if len(names) != outputs:
        raise ValueError(f"{at.classes} names {len(names)} classes; {at.name} has {outputs} outputs")
    number = {name: i for i, name in enumerate(names)}
    if lost := [name for name in classes if name not in number]:
        raise ValueError(f"{at.name} knows {len(lost)} of the classes not, {lost[0]!r} the first")
    return tuple(number[name] for name in classes)
