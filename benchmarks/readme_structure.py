"""The README's lines on label structure: what its autoencoders keep, what cleaning is worth, what a branch costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.readme_corpus import bullets

Record = Mapping[str, Any]


def lines(newest: Callable[[str], Record | None]) -> list[str]:
    """One Markdown bullet for each result that there is; "not run" for one that there is not."""
    shown = {"label-autoencoders": autoencoders, "clean-quality-rooms": cleaning, "structure-cost": cost}
    return ["Label structure, on the same machine:", "", *bullets(shown, newest)]


def autoencoders(record: Record) -> str:
    """mIoU of held-back maps' reconstruction by width, beside the most frequent class of each cell."""
    found = _figures(record)
    told = "; ".join(_of_set(name, each) for name, each in found["sets"].items())
    return (
        f"Label autoencoders at {found['size']}, {found['steps']} steps of {found['batch']} maps: mIoU of the "
        f"reconstruction of held-back maps by channels of the bottleneck, beside the most frequent class of each 16x16 "
        f"cell: {told}."
    )


def _of_set(name: str, found: Record) -> str:
    widths = sorted(int(key) for key in found if key.isdecimal())
    told = ", ".join(f"{width}: {_percent(found[str(width)]['miou'])}" for width in widths)
    return f"{name} ({found['held_back']} maps) {told}, cells {_percent(found['majority']['miou'])}"


def cleaning(record: Record) -> str:
    """HN-labels of noisy rooms that are exact, before and after cleaning."""
    found = _figures(record)
    before, replaced, void = found["before"], found["class"], found["void"]
    return (
        f"HN-labels of {found['rooms'][2]} noisy rooms cleaned by an autoencoder of others' noisy labels, doubts "
        f"chosen on a third set: {_percent(before['agreement'])} of the labels are the exact ones before; "
        f"{_percent(replaced['agreement'])} with doubted ones replaced (below {replaced['doubt']:g}); "
        f"{_percent(void['agreement'])} with them left out (below {void['doubt']:g}; "
        f"{_percent(void['labelled_share'])} of the pixels keep a label, {_percent(before['labelled_share'])} before)."
    )


def cost(record: Record) -> str:
    """How much longer a training step takes with a branch."""
    found = _figures(record)
    rows = [row for row in found["rows"] if row["regulariser"] != "none"]
    told = ", ".join(f"{row['regulariser']} {row['share']:+.1%}" for row in rows)
    missed = [row["regulariser"] for row in rows if not row["within_15_percent"]]
    goal = f"the goal of 15 % is missed by {', '.join(missed)}" if missed else "the goal is 15 %"
    return (
        f"A training step of {found['network']} at {found['size']}, batch {found['batch']}, one thread, with a "
        f"regulariser: {told} ({goal}); without one in use, as it is dropped."
    )


def _figures(record: Record) -> Record:
    """What a program wrote into benchmarks/results, or where it was told to (then beside the machine)."""
    found: Record = record.get("result", record)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
