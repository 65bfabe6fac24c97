"""Configurations as `group.key` -> value, and what differs between that of a run and that of its continuation."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as `group.key` -> value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def defaults(config_type: type[Any]) -> dict[str, Any]:
    """The default of every field that has one, `group.key` -> value, as JSON gives it back."""
    values: dict[str, Any] = {}
    for each in fields(config_type):
        if each.default is not MISSING:
            values[each.name] = each.default
        elif each.default_factory is not MISSING:
            made = each.default_factory()
            values[each.name] = asdict(made) if is_dataclass(made) and not isinstance(made, type) else made
    return flat(json.loads(json.dumps(values, default=str)))


def differing(
    was: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str], absent: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """(`group.key`, its value then, its value now) of all that differs but the keys in `free`, by their names.

    was, now   nested configurations as JSON gives them
    absent     what a key stands for that one of them lacks, as what was written before the key existed: see `defaults`
    """
    then, here = flat(was), flat(now)
    for key in sorted((then.keys() | here.keys()) - set(free)):
        before, after = (found.get(key, absent.get(key)) for found in (then, here))
        if before != after:
            yield key, before, after
