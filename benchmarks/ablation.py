"""What each default of the HN-label is worth on rooms of known truth: `python -m benchmarks.ablation --out F.json`.

The same noisy procedural frames are labelled with the defaults and with one default changed at a time, and scored by
`rooms_quality.score_rooms`. CHANGELOG quotes these figures where a default differs from the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.posed_quality import Labeller
from benchmarks.rooms_quality import score_rooms
from benchmarks.timing import one_thread, write_result
from fastseg.cli import run
from fastseg.data.rooms import Rooms
from fastseg.labels.hn import HNConfig, label_frame

CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "radius 3": {"radius": 3},
    "radius 7": {"radius": 7},
    "pca, radius 3": {"estimator": "pca", "radius": 3},
    "no edge gate": {"max_residual": 1e9},
    "manhattan": {"gravity": "manhattan"},
    "half of the lowest points look up": {"min_aligned": 0.5},
}


@dataclass(frozen=True)
class Config:
    """Which frames to label."""

    rooms: int = 220  # noisy procedural frames
    seed: int = 3
    out: Path | None = None


def labeller(settings: HNConfig) -> Labeller:
    return lambda frame: label_frame(frame, settings)


def main(config: Config) -> int:
    """0 after printing a line a change."""
    found: dict[str, Any] = {}
    for name, change in CHANGES.items():
        scored = score_rooms(Rooms(config.seed, config.rooms), labeller(replace(HNConfig(), **change)))
        scored["agreement"].pop("per_bin", None)
        found[name] = scored
        floor, agreement, up = scored["floor"], scored["agreement"], scored["up_error_deg"]
        print(
            f"{name:34} label {agreement['label']:.3f} of {agreement['labelled_share']:.3f} labelled; "
            f"up {up['median']:.2f} / {up['p95']:.2f} deg; {floor['accepted']} of {floor['floor_in_view']} with floor "
            f"kept, {floor['accepted_without_floor']} without",
            flush=True,
        )
    if config.out is not None:
        print(f"written to {write_result(config.out.stem, found, config.out.parent)}")
    return 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(run(Config, main))
