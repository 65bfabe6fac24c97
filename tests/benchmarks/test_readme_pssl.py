"""The README's lines on PSSL say what the results say, a missed goal among them."""

from __future__ import annotations

from typing import Any

from benchmarks.readme_pssl import lines


def _row(impl: str, ratio: float, passes: float) -> dict[str, Any]:
    return {"case": "net", "impl": impl, "ratio_to_ours": ratio, "extra": {"passes_per_s": passes, "floor_share": 0.4}}


RULE = {"stop_at": 0.01, "saved": 0.0, "changed_deciles": 0.0}
SCORES = {"pointing": 0.5, "top_decile": 0.25, "mask_iou": 0.2, "auc": 0.7}
RECORDS: dict[str, dict[str, Any]] = {
    "pssl_rate": {
        "date": "2026-01-02 10:00 UTC",
        "rows": [_row("fastseg", 1.0, 30.0), _row("fastseg bf16", 0.5, 60.0), _row("captum", 2.94, 10.2)],
    },
    "pssl_stopping": {
        "date": "2026-01-02 10:00 UTC",
        "result": {
            "models": ["a", "b"], "pictures": 40, "copies": 50,
            "rules": [RULE, {"stop_at": 0.15, "saved": 0.25, "changed_deciles": 0.125}],
            "another_seed": {"changed_deciles": 0.2, "changed_by_more_than_one": 0.004, "mask_iou": 0.75},
        },
    },
    "pssl_pointing": {
        "date": "2026-01-02 10:00 UTC",
        "result": {
            "pictures": 120,
            "smoothgrad": [
                {"models": 1, "mean": SCORES, "each": [{"auc": 0.72}, {"auc": 0.68}]},
                {"models": 2, "mean": {**SCORES, "auc": 0.81}, "each": [{"auc": 0.81}]},
            ],
            "all_against_one": {key: {"mean": 0.1, "error": 0.012} for key in SCORES},
        },
    },
}  # fmt: skip


def test_a_missed_goal_is_told() -> None:
    told = "\n".join(lines(RECORDS.get))
    assert "net 30.0 passes/s, in bf16 60.0 (40% of the FLOP floor; captum 2.94 times as long) (goal 3, missed)" in told
    fast = {"pssl_rate": {**RECORDS["pssl_rate"], "rows": [_row("fastseg", 1.0, 30.0), _row("captum", 3.1, 9.7)]}}
    assert "missed" not in "\n".join(lines(fast.get))


def test_a_rule_that_never_stops_saves_nothing() -> None:
    told = "\n".join(lines(RECORDS.get))
    assert (
        "at 1 % it saves 0% of the copies; at 15 % it saves 25% of the copies and changes 12.5% of the deciles" in told
    )
    assert "Another seed changes 20% of the deciles, by more than one 0.4%" in told


def test_several_classifiers_stand_beside_one() -> None:
    told = "\n".join(lines(RECORDS.get))
    assert "AUC 0.700 -> 0.810 (+- 0.012); the best alone has AUC 0.720" in told


def test_what_was_not_run_says_so() -> None:
    assert "- pssl_pointing: not run" in lines(lambda name: None)
