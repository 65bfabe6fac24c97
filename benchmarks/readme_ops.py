"""The README's table of the ops and the gating head, from their rows: `lines(folder)`; a missing figure says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.floors import Floor, floor
from benchmarks.rows import OURS

Result = Mapping[str, Any]
RowOf = Mapping[str, Any]
NOT_RUN = "not run"
SPEED_UP = 1.8  # of ours on two threads


@dataclass(frozen=True)
class Line:
    """One line of the table: a case of an op, its peers with the goals set for them, and where else it was measured.

    peers    impl -> how many times ours it should take at least; None where no goal is set
    batch    the case that was timed on 1 and 2 threads; the same one when empty
    error    what the rows' errors mean and the peer to beat: (unit, impl), None when the table does not show them
    """

    op: str
    title: str
    case: str
    peers: Mapping[str, float | None]
    batch: str = ""
    error: tuple[str, str] | None = None
    memory: bool = False
    gpu_case: str = ""
    gpu_goal: str = ""


FITS: Mapping[str, float | None] = {
    "opencv_fals": 3, "opencv_linemod": None, "opencv_sri": None, "pcl_gradient": None, "pcl_covariance": None,
    "open3d_knn": 300,
}  # fmt: skip
HEADS = ("dense_folded", "dense_eager", "dense_channels_last")
CONVS = ("eager", "eager_channels_last", "compile", "compile_channels_last")
LINES: Sequence[Line] = (
    Line(
        "normals", "points and normals, cross products, 480x640", "480x640 cross r1 + points",
        {"opencv_cross_product": 6, "open3d_tensor": 12, "numpy": None, "kornia": None}, "8x480x640 cross r1 + points",
        gpu_case="64x480x640 cross r1", gpu_goal="70 % of copy",
    ),
    *(
        Line(
            "normals", f"plane fit, {2 * r + 1}x{2 * r + 1} window, 480x640", f"480x640 plane r{r}", FITS,
            f"8x480x640 plane r{r}", ("deg", "opencv_fals"),
            gpu_case=f"64x480x640 plane r{r}", gpu_goal="3 us a frame",
        )
        for r in (3, 5, 10)
    ),
    Line(
        "hn_labels", "HN label, whole frame, 480x640", "480x640 label",
        {"assembled": 12, "hha": 700, "hha_opencv": None}, "8x480x640 label",
        gpu_case="64x480x640 label", gpu_goal="5 us a frame",
    ),
    Line(
        "photometric", "photometric loss, 12x3x192x640, forward", "12x3x192x640 box3 forward",
        {"compile": 7, "eager": 13, "kornia": None}, memory=True, gpu_case="12x3x192x640 forward",
        gpu_goal="50 % of the floor",
    ),
    Line(
        "photometric", "the same with backward", "12x3x192x640 box3 forward+backward",
        {"compile": 3, "eager": 7, "kornia": None}, memory=True, gpu_case="12x3x192x640 forward+backward",
        gpu_goal="50 % of the floor",
    ),
    Line(
        "gated_conv", "gated convolution, 512x90x90, hard gates", "512x90x90 hard", dict.fromkeys(CONVS, 4.5),
        memory=True, gpu_case="512x90x90 hard forward", gpu_goal="2.5 times cuDNN",
    ),
    Line(
        "gated_conv", "the same, soft gates", "512x90x90 soft", dict.fromkeys(CONVS, 0.95), memory=True,
        gpu_case="512x90x90 soft forward", gpu_goal="1.2 times cuDNN",
    ),
    Line(
        "gated_conv", "gated average pooling, 512x90x90", "512x90x90 pool avg", {"eager": 8, "compile_shifted": 8},
        gpu_case="8x512x90x90 pool avg", gpu_goal="60 % of copy",
    ),
    Line(
        "gated_conv", "gated maximum pooling, 512x90x90", "512x90x90 pool max", {"eager": 60, "compile_shifted": 60},
        gpu_case="8x512x90x90 pool max", gpu_goal="60 % of copy",
    ),
    Line(
        "gating_head", "gating head: gated convolution, batch-norm, ReLU, 512x90x90, hard gates", "512x90x90 head hard",
        dict.fromkeys(HEADS), memory=True, gpu_case="512x90x90 head hard",
    ),
    Line(
        "gating_head", "gating head, soft gates", "512x90x90 head soft", dict.fromkeys(HEADS), memory=True,
        gpu_case="512x90x90 head soft",
    ),
    Line(
        "gating_head", "gating head, a training step", "512x90x90 head training", dict.fromkeys(HEADS[1:]), memory=True,
        gpu_case="512x90x90 head training",
    ),
    *(
        Line(
            "gating_head", f"gated ResNet-50 at 480x640, {what}", f"480x640 network {case}",
            dict.fromkeys(HEADS[1:]), memory=True, gpu_case=f"480x640 network {case}",
        )
        for what, case in (("hard gates", "hard"), ("soft gates", "soft"), ("a training step", "training"))
    ),
    Line("decile_rank", "decile rank, 224x224", "224x224", {"numpy_sort": 5, "numpy_partition": 5, "torch_sort": 5},
         "32x224x224", gpu_case="256x224x224"),
    Line("decile_rank", "decile rank, 375x500", "375x500", {"numpy_sort": 5, "numpy_partition": 5, "torch_sort": 5}),
)  # fmt: skip


def newest(name: str, folder: Path) -> Result | None:
    """The newest result of that name in the folder, None when there is none."""
    found = sorted(folder.glob(f"{name}-20*.json"))
    record: Result | None = json.loads(found[-1].read_text("utf-8")) if found else None
    return record


def row(record: Result | None, case: str, impl: str = OURS, threads: int = 1) -> RowOf | None:
    """The row of a case, contestant and thread count; None when it was not run."""
    rows: Sequence[RowOf] = record["rows"] if record is not None else ()
    matching = (r for r in rows if (r["case"], r["impl"], r["threads"]) == (case, impl, threads))
    return next(matching, None)


def milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def ratio(value: float) -> str:
    return f"{value:.2f}" if value < 2 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def peers_cell(line: Line, record: Result) -> str:
    """How many times ours each peer takes, with its goal; a goal that is missed is marked."""
    shown = []
    for impl, goal in line.peers.items():
        found = row(record, line.case, impl)
        if found is None:
            shown.append(f"{impl} {NOT_RUN}")
            continue
        times = found["ratio_to_ours"]
        told = "" if goal is None else f" (goal {goal:g}{'' if times >= goal else ', missed'})"
        shown.append(f"{impl} {ratio(times)}{told}")
    return ", ".join(shown)


def error_cell(line: Line, record: Result) -> str:
    """Ours and the named peer's error."""
    if line.error is None:
        return ""
    unit, impl = line.error
    both = [found["error"] for found in (row(record, line.case), row(record, line.case, impl)) if found is not None]
    if len(both) < 2 or None in both:
        return f"; error {NOT_RUN}"
    return f"; error {both[0]:.1f} {unit}, {impl} {both[1]:.1f}"


def memory_cell(line: Line, record: Result) -> str:
    """What a call needs at its peak, ours and the least of the peers."""
    if not line.memory:
        return ""
    found = {impl: row(record, line.case, impl) for impl in (OURS, *line.peers)}
    peak = {impl: r["extra"]["peak_mb"] for impl, r in found.items() if r is not None and "peak_mb" in r["extra"]}
    own, others = peak.pop(OURS, None), peak
    if own is None or not others:
        return f"; memory {NOT_RUN}"
    least = min(others, key=lambda impl: others[impl])
    return f"; peak {own:.0f} MB, {least} {others[least]:.0f}"


def threads_cell(line: Line, record: Result) -> str:
    """How many times as fast ours is on two threads; `8x...` is a batch of eight frames."""
    case = line.batch or line.case
    one, two = row(record, case), row(record, case, threads=2)
    if one is None or two is None:
        return NOT_RUN
    speed_up = one["ms_median"] / two["ms_median"]
    return f"{speed_up:.2f}{'' if speed_up >= SPEED_UP else f' (goal {SPEED_UP:g}, missed)'}"


def floor_cell(line: Line, ours: RowOf, rates: Result | None) -> str:
    """How many times the floor ours takes, and what bounds it."""
    own = ours["extra"]
    if "floor_ms" in own:  # counted and measured by the benchmark itself
        found: Floor | None = Floor(own["floor_ms"], "bytes" if own.get("bytes_bound") else "FLOPs")
    elif rates is None:
        return NOT_RUN
    else:
        found = floor(line.op, line.case, rates["rates"]["1"])
    if found is None:
        return "not counted"
    return f"{ours['ms_median'] / found.ms:.1f} x {milliseconds(found.ms)} ({found.bound})"


def gpu_cell(line: Line, folder: Path) -> str:
    """What `benchmarks.device` measured: the time, its share of the GPU's limits, the fastest peer; else `not run`."""
    record = newest(f"device-{line.op}", folder)
    found = row(record, line.gpu_case, threads=0)
    if found is None:
        return NOT_RUN
    extra = found["extra"]
    shown = f"{extra['us_a_frame']:.2f} us a frame" if "us_a_frame" in extra else milliseconds(found["ms_median"])
    limits = {"share_of_copy": "copy", "share_of_matmul": "matmul"}
    shown += "".join(f", {100 * extra[key]:.0f} % of {what}" for key, what in limits.items() if key in extra)
    rows: Sequence[RowOf] = record["rows"] if record is not None else ()
    peers = [r for r in rows if r["case"] == line.gpu_case and r["impl"] != OURS]
    fastest = min(peers, key=lambda r: float(r["ratio_to_ours"]), default=None)
    return shown if fastest is None else f"{shown}, {fastest['impl']} {ratio(fastest['ratio_to_ours'])}"


def cells(line: Line, folder: Path) -> tuple[str, ...]:
    """The line's cells from left to right."""
    record, rates = newest(line.op, folder), newest("floors", folder)
    ours = row(record, line.case)
    goal = f" (goal {line.gpu_goal})" if line.gpu_goal else ""
    gpu = f"{gpu_cell(line, folder)}{goal}"
    if record is None or ours is None:
        return (line.title, NOT_RUN, NOT_RUN, NOT_RUN, NOT_RUN, gpu)
    peers = peers_cell(line, record) + error_cell(line, record) + memory_cell(line, record)
    own = milliseconds(ours["ms_median"])
    return (line.title, own, peers, threads_cell(line, record), floor_cell(line, ours, rates), gpu)


def lines(folder: Path) -> list[str]:
    """The table as Markdown lines, with the results it comes from."""
    head = ("op, case", "ours, 1 thread", "times ours, same run", "2 threads", "times the floor, its bound", "GPU")
    table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    table += [f"| {' | '.join(cells(line, folder))} |" for line in LINES]
    names = dict.fromkeys([*(line.op for line in LINES), "floors"])
    found = {name: newest(name, folder) for name in names}
    dated = [f"`{name}` {record['date'][:10]}" for name, record in found.items() if record is not None]
    where = next((record["machine"] for record in found.values() if record is not None), None)
    machine = f"CPU {where['cpu']}, {where['cores']} cores. " if where else ""
    return [*table, "", f"{machine}From `benchmarks/results`: {', '.join(dated) or NOT_RUN}."]
