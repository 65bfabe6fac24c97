"""The table `fastseg VERB` -> program, and how every program reads its command line and reports a user's mistake."""

from __future__ import annotations

import copy
import difflib
import errno
import importlib
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

VERBS = {
    "demo": ("fastseg.demo", "rooms to labels to a trained network, on two CPU cores, with a report"),
    "train": ("fastseg.train", "train on HN-labels (hn), a segmentation set (segment) or whole images (classify)"),
    "compare": ("fastseg.compare", "a study: variants x numbers of labelled images x seeds, with table and curves"),
    "analyse": ("fastseg.analyse", "one page on trained networks: curves, sizes, depth, Grad-CAM, predictions"),
    "gates": ("fastseg.gates", "what a gated network's gates choose: scores of every pass, depth, maps, one page"),
    "evaluate": ("fastseg.evaluate", "score a checkpoint on a segmentation set, or on images with depth"),
    "predict": ("fastseg.predict", "classes or depth of images, folders and videos, by a checkpoint"),
    "export": ("fastseg.export", "a checkpoint as safetensors, timm, smp, ONNX or torch.export, with a model card"),
    "transfer": ("fastseg.transfer", "which weights of one network would go into another (map A B)"),
    "explain": (
        "fastseg.explain",
        "look at PSSL labels: each classifier's map, the ensemble, deciles, the mask; one page",
    ),
    "structure": ("fastseg.structure", "look at label structure: reconstructions, nearest regions, a weight sweep"),
    "view": ("fastseg.view", "look at labels: one self-contained HTML page, or a painted point cloud"),
    "verify": ("fastseg.verify", "every problem of a label run on disk, named; repairs nothing"),
    "doctor": ("fastseg.doctor", "what is installed, which backends work, what is missing"),
}

Config = TypeVar("Config")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg VERB ...`: 0 done, 2 a mistake in the command, else what the program returns."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: fastseg VERB [options]\n")
        print("\n".join(f"  {verb:10} {text}" for verb, (_, text) in VERBS.items()))
        print("\n`fastseg VERB --help` lists a verb's options; `python -m fastseg.VERB` is the same program.")
        return 0
    if words[0] == "--version":
        print(importlib.import_module("fastseg").__version__)
        return 0
    if words[0] not in VERBS:
        print(f"fastseg: no verb {words[0]!r}{_nearest(words[0], VERBS)}; `fastseg --help` lists them", file=sys.stderr)
        return 2
    return int(importlib.import_module(VERBS[words[0]][0]).cli(words[1:]))


def run(
    config_type: type[Config],
    main: Callable[[Config], int],
    argv: Sequence[str] | None = None,
    positional: tuple[str, ...] = (),
    prog: str | None = None,
) -> int:
    """The exit code of a program: `main(config)` with the dataclass read from the command line.

    `--config file.yaml` gives fields, flags override it; `positional` names fields that may be given without a flag.
    A user's mistake (ValueError, a file that is missing or may not be read) becomes one sentence on stderr and exit
    code 2, a full disk or a lost data worker exit code 1; `--debug` shows the traceback instead.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    prog = prog or _program(config_type)
    debug = "--debug" in words
    try:
        return main(_parse(config_type, [word for word in words if word != "--debug"], positional, prog))
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"{prog}: {_sentence(error)}", file=sys.stderr)
        lost = isinstance(error, ChildProcessError | TimeoutError)  # a data worker that died or hung
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        return 1 if lost or full else 2


def _parse(config_type: type[Config], words: list[str], positional: tuple[str, ...], prog: str) -> Config:
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=prog, exit_on_error=False, description=(config_type.__doc__ or "").split("\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file of options; flags override it")
    parser.add_class_arguments(config_type)
    meanings = _meanings(config_type)
    for name in positional:
        meanings[name] = f"{meanings.get(name, '')} (may be given without --{name})".lstrip()
    for action in parser._actions:
        action.help = meanings.get(action.dest, action.help)
    try:
        values = parser.parse_args(_joined(config_type, words, positional))
    except ArgumentError as error:
        raise ValueError(_reworded(str(error))) from error
    made = parser.instantiate(values)
    return config_type(**{field.name: made[field.name] for field in fields(config_type)})  # type: ignore[arg-type]


def typed(config_type: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """The dataclass made of plain values; ValueError in one sentence that begins with `where`."""
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config_type)
    try:
        made = parser.instantiate(parser.parse_object(copy.deepcopy(dict(values))))
        return config_type(**{field.name: made[field.name] for field in fields(config_type)})  # type: ignore[arg-type]
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        line = _reworded(str(error)).replace("the --config file has an unknown key", "unknown key")
        raise ValueError(f"{where}: {line.replace('--', '')}") from error


def _joined(config_type: type[Any], words: list[str], positional: tuple[str, ...]) -> list[str]:
    """`words` with every option as `--field=value`: dashes allowed in names, a bare or `--no-` flag for a bool."""
    kinds = _kinds(config_type)
    rest, out, free = list(words), [], list(positional)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if word in ("-h", "--help"):
            return ["--help"]
        if name == "print_config" and word.startswith("--"):
            out.append(word)
            continue
        if not word.startswith("--"):
            if not free:
                raise ValueError(f"unexpected argument {word!r}; options are given as --name value")
            out.append(f"--{free.pop(0)}={word}")
        elif kinds.get(name) is bool and not equals:
            out.append(f"--{name}={rest.pop(0) if rest and rest[0].lower() in ('true', 'false') else 'true'}")
        elif kinds.get(name.removeprefix("no_")) is bool and name not in kinds:
            out.append(f"--{name.removeprefix('no_')}=false")
        elif name.partition(".")[0] not in {*kinds, "config"}:
            raise ValueError(f"no option {word.partition('=')[0]}{_nearest(name, kinds, '--')}; --help lists them")
        elif not equals and not rest:
            raise ValueError(f"option {word} needs a value")
        else:
            value = value if equals else rest.pop(0)
            out.append(f"--{_of_group(name, value, kinds)}={_listed(kinds.get(name), value)}")
    return out


def _of_group(name: str, value: str, kinds: Mapping[str, Any]) -> str:
    """`group.kind` for a group's bare name with one of its kinds, as in --regulariser decoder; else the name."""
    kind = f"{name}.kind"
    return kind if value in typing.get_args(kinds.get(kind)) else name


def _listed(kind: Any, value: str) -> str:
    """The value, that of a sequence in brackets: `a,b` is the short way to write `["a", "b"]`."""
    if typing.get_origin(kind) not in (tuple, list) or value.startswith("["):
        return value
    parts = [part.strip() for part in value.split(",")]
    return json.dumps(parts) if str in typing.get_args(kind) else f"[{value}]"


def _kinds(config_type: type[Any]) -> dict[str, Any]:
    """The type of every field, and of those of its groups as `group.field`."""
    kinds = typing.get_type_hints(config_type)
    for group, kind in list(kinds.items()):
        if is_dataclass(kind) and isinstance(kind, type):
            kinds |= {f"{group}.{name}": inner for name, inner in _kinds(kind).items()}
    return kinds


def _meanings(config_type: type[Any]) -> dict[str, str]:
    """What each field means, from the lines `field   meaning` of its dataclass's docstring; `group.field` one below."""
    meanings: dict[str, str] = {}
    for group, kind in typing.get_type_hints(config_type).items():
        if is_dataclass(kind) and isinstance(kind, type):
            meanings |= {f"{group}.{name}": meaning for name, meaning in _meanings(kind).items()}
    name = ""
    for line in (config_type.__doc__ or "").splitlines()[1:]:
        match = re.match(r"\s*(\w+)\s{2,}(\S.*)", line)
        if match and match[1] in config_type.__dataclass_fields__:
            name = match[1]
            meanings[name] = match[2]
        elif name and line.strip() and line.startswith(" " * 8):
            meanings[name] += " " + line.strip()
        else:
            name = ""
    return meanings


def _reworded(message: str) -> str:
    """The parser's message in the words of the command line: one line, `--field`, types by their names."""
    line = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(message.split())).replace("typing.", "")
    line = re.sub(r'Parser key "([\w.]+)": ', r"--\1: ", line)
    line = re.sub(r"Problem with given class_path '[\w.]+': ", "", line)
    line = re.sub(r"Group '([\w.]+)' does not accept option '([\w.]+)'", r"Option '\1.\2' is not accepted", line)
    line = re.sub(r"Option '([\w.]+)' is not accepted", r"the --config file has an unknown key '\1'", line)
    line = re.sub(r"^Unexpected config:.*", "the --config file must hold lines `option: value`", line)
    line = re.sub(r"Does not validate against any of the Union subtypes .*Given value: (.*)", _union, line)
    line = re.sub(r"Expected an? (.+?)\. Got value: (.*)", r"expected \1; got \2", line)
    line = re.sub(r"Literal\[([^]]*)\]", _choices, line)
    line = re.sub(r"expected ((?:[\w-]+ or )+[\w-]+); got '?([\w-]+)'?$", _hinted, line)
    return re.sub(r"the following arguments are required: ([\w., ]+)", _missing, line)


def _choices(match: re.Match[str]) -> str:
    return " or ".join(word.strip(" '\"") for word in match[1].split(","))


def _hinted(match: re.Match[str]) -> str:
    return match[0] + _nearest(match[2], match[1].split(" or "))


def _missing(match: re.Match[str]) -> str:
    names = [f"--{name}" for name in re.findall(r"[\w.]+", match[1])]
    return f"option {names[0]} is required" if len(names) == 1 else f"options {', '.join(names)} are required"


def _union(match: re.Match[str]) -> str:
    kinds = [kind for kind in re.findall(r"- Expected an? (.+?)(?:\.| - | Given|$)", match[0]) if kind != "NoneType"]
    return f"expected {' or '.join(kinds)}; got {match[1]}" if kinds else match[0]


def _nearest(word: str, known: typing.Iterable[str], dashes: str = "") -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {dashes}{near[0]}?)" if near else ""


def _program(config_type: type[Any]) -> str:
    if config_type.__module__ != "__main__":
        return f"python -m {config_type.__module__}"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec is not None else sys.argv[0]


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'cannot be used').lower()}"
    return " ".join(str(error).split()) or type(error).__name__
