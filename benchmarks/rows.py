"""One row a contestant and case: the form in which every op's benchmark prints, writes and draws its times."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import stamp, write_json

OURS = "fastseg"


@dataclass(frozen=True)
class Row:
    """One contestant's times on one case.

    threads         of the processor; 0 for a time on the GPU
    ratio_to_ours   this contestant's median over ours in the same case, run and thread count: 1 for ours, above 1 for
                    a slower one ("6" reads: ours is six times as fast)
    error           what the benchmark says it is (degrees, disagreement with the reference); None when not taken
    extra           further figures by name; `cores_used` is processor seconds over wall seconds of the timed calls
    """

    case: str
    impl: str
    threads: int
    ms_median: float
    ms_min: float
    runs: int
    ratio_to_ours: float
    error: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


def headed(case: str, threads: int) -> str:
    """A case and where it ran, in words."""
    return f"{case}, {f'{threads} thread' + 's' * (threads > 1) if threads else 'GPU'}"


def print_rows(rows: Sequence[Row]) -> None:
    """Prints the rows as a table, a blank line between cases."""
    wide = max([len(row.impl) for row in rows] + [4]) + 2
    last = None
    for row in rows:
        if (row.case, row.threads) != last:
            last = (row.case, row.threads)
            print(f"\n{headed(row.case, row.threads)}")
            print(f"  {'impl':{wide}}{'median ms':>12}{'min ms':>12}{'runs':>6}{'/ ours':>9}{'error':>10}")
        error = "" if row.error is None else f"{row.error:.3g}"
        extra = "   " + ", ".join(f"{name} {value:.3g}" for name, value in row.extra.items())
        times = f"{row.ms_median:12.3f}{row.ms_min:12.3f}{row.runs:6d}"
        print(f"  {row.impl:{wide}}{times}{row.ratio_to_ours:9.2f}{error:>10}{extra}".rstrip(), flush=True)


def _finite(row: Row) -> dict[str, Any]:
    """The row as JSON; a figure that is not finite is an unknown one, null."""
    record = asdict(row)
    record["extra"] = {name: value if math.isfinite(value) else None for name, value in row.extra.items()}
    record["error"] = row.error if row.error is None or math.isfinite(row.error) else None
    return record


def write_rows(op: str, rows: Sequence[Row], path: Path, extra: Mapping[str, Any] | None = None) -> Path:
    """`path`, holding {op, date, commit, machine, versions, rows: [...], **extra} as JSON."""
    record = {"op": op, **stamp(), "rows": [_finite(row) for row in rows]}
    taken = set(extra or {}) & set(record)
    if taken:
        raise ValueError(f"a result's own fields cannot be given again: {', '.join(sorted(taken))}")
    return write_json(path, {**record, **(extra or {})})


def earlier_rows(path: Path | None, cases: Sequence[str] = ()) -> list[Row]:
    """The rows that `path` holds of this commit and processor, less those of `cases`; none when it does not exist.

    So a long benchmark may be run in parts with one `--json`: each adds its cases to what the others wrote.
    """
    if path is None or not path.exists():
        return []
    record, now = json.loads(path.read_text()), stamp()
    if (record["commit"], record["machine"]["cpu"]) != (now["commit"], now["machine"]["cpu"]):
        return []
    kept = [row for row in record["rows"] if row["case"] not in cases]
    known = [{k: math.nan if v is None else v for k, v in row["extra"].items()} for row in kept]
    return [Row(**{**row, "extra": extra}) for row, extra in zip(kept, known, strict=True)]


def plot_rows(rows: Sequence[Row], path: Path) -> Path:
    """`path`, a picture of median milliseconds (logarithmic) a case, ours dark blue, a peer orange."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = list(dict.fromkeys((row.case, row.threads) for row in rows))
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.28 * (len(rows) + len(cases))), layout="constrained")
    at, ticks, names = 0.0, [], []
    for case, threads in cases:
        names.append(headed(case, threads))
        ticks.append(at)
        at += 1
        for row in sorted((r for r in rows if (r.case, r.threads) == (case, threads)), key=lambda r: r.ms_median):
            axes.plot(row.ms_median, at, "o", ms=6, color="#1b4f72" if row.impl == OURS else "#d68910")
            told = f"   {row.ms_median:.3g} ms" + ("" if row.impl == OURS else f" ({row.ratio_to_ours:.1f}x)")
            axes.text(row.ms_median, at, told, va="center", fontsize=7)
            ticks.append(at)
            names.append(row.impl)
            at += 1
    axes.set(xscale="log", xlabel="median milliseconds a call (and times ours)", ylim=(at - 0.4, -0.6))
    axes.set_xlim(min(row.ms_median for row in rows) / 2, 4 * max(row.ms_median for row in rows))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(ticks, names, fontsize=7)
    cased = {headed(case, threads) for case, threads in cases}
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in cased else "normal")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def keep_rows(
    op: str, rows: Sequence[Row], file: Path | None, plot: Path | None, extra: Mapping[str, Any] | None = None
) -> None:
    """Writes the rows to `file` as JSON and draws them into `plot`, where these are given, and says where they lie."""
    if file is not None:
        print(f"written to {write_rows(op, rows, file, extra)}")
    if plot is not None:
        print(f"drawn in {plot_rows(rows, plot)}")
