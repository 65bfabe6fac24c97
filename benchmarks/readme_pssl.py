"""The README's lines on PSSL: the rate beside captum, what stopping early saves, one classifier against several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.readme_corpus import bullets

Record = Mapping[str, Any]
OURS, BF16, CAPTUM = "fastseg", "fastseg bf16", "captum"
GOAL = 3.0  # times captum's rate, as the issue asks


def lines(newest: Callable[[str], Record | None]) -> list[str]:
    """One Markdown bullet for each result that there is; "not run" for one that there is not."""
    shown = {"pssl_rate": rate, "pssl_stopping": stopping, "pssl_pointing": pointing}
    return ["Pseudo labels from classifiers:", "", *bullets(shown, newest)]


def rate(record: Record) -> str:
    """Passes a second of each network, captum's time beside ours, the share of the floor, and the goal."""
    cases = list(dict.fromkeys(row["case"] for row in record["rows"]))
    least = min(_ratio(record, case, CAPTUM) for case in cases)
    goal = "" if least >= GOAL else f" (goal {GOAL:.0f}, missed)"
    return f"SmoothGrad, one thread: {'; '.join(_case(record, case) for case in cases)}{goal}."


def _case(record: Record, case: str) -> str:
    rows = {row["impl"]: row for row in record["rows"] if row["case"] == case}
    own = rows[OURS]["extra"]
    peers = [name for name in rows if name.startswith(CAPTUM)]
    others = ", ".join(f"{name} {_ratio(record, case, name):.2f} times as long" for name in peers)
    half = f", in bf16 {rows[BF16]['extra']['passes_per_s']:.1f}" if BF16 in rows else ""
    floor = f"{own['floor_share']:.0%} of the FLOP floor"
    return f"{case} {own['passes_per_s']:.1f} passes/s{half} ({floor}; {others})"


def _ratio(record: Record, case: str, impl: str) -> float:
    found = next(row for row in record["rows"] if row["case"] == case and row["impl"] == impl)
    return float(found["ratio_to_ours"])


def stopping(record: Record) -> str:
    """What each rule saves and changes, beside what another seed of the noise changes."""
    found = record["result"]
    rules = "; ".join(
        f"at {100 * rule['stop_at']:g} % it saves {rule['saved']:.0%} of the copies"
        + (f" and changes {rule['changed_deciles']:.1%} of the deciles" if rule["saved"] else "")
        for rule in found["rules"]
    )
    seed = found["another_seed"]
    return (
        f"Stopping once few deciles change, {found['pictures']} ImageNet pictures, {len(found['models'])} "
        f"classifiers, {found['copies']} copies: {rules}. Another seed changes {seed['changed_deciles']:.0%} of the "
        f"deciles, by more than one {seed['changed_by_more_than_one']:.1%}; "
        f"its mask has an IoU of {seed['mask_iou']:.2f} with the first."
    )


def pointing(record: Record) -> str:
    """One classifier against all on known masks."""
    found = record["result"]
    one, many = found["smoothgrad"][0], found["smoothgrad"][-1]
    kinds = {"pointing": "greatest score on the object", "top_decile": "top decile on it", "mask_iou": "mask IoU",
             "auc": "AUC"}  # fmt: skip
    gains = ", ".join(
        f"{said} {one['mean'][key]:.3f} -> {many['mean'][key]:.3f} (+- {found['all_against_one'][key]['error']:.3f})"
        for key, said in kinds.items()
    )
    best = max(each["auc"] for each in one["each"])
    return (
        f"Maps against the masks of {found['pictures']} procedural objects, one classifier (mean of "
        f"{len(one['each'])}) -> {many['models']} together: {gains}; the best alone has AUC {best:.3f}."
    )
