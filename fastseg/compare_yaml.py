"""A YAML file as plain values, read safely, with no key given twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20


class _Once(yaml.SafeLoader):  # type: ignore[misc]
    """The safe loader, which also refuses a key that stands twice in one mapping."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        return node


def read_yaml(path: Path) -> Any:
    """What the file says; FileNotFoundError, or ValueError naming the file and the line."""
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path}: expected a YAML file of at most {MAX_BYTES:,} bytes")
    try:
        loader = _Once(text)
        return loader.get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        said = getattr(error, "problem", None) or str(error).split("\n")[0] or type(error).__name__
        raise ValueError(f"{path}{line}: {said}") from error
