"""What a measured rate says of NYUv2's 407,024 raw frames: arithmetic, marked as such, on other machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CORPUS = 407_024
CORES = 16
# A frame's depth goes to a GPU and its label comes back: at 20 GB/s of PCIe the op itself, 2 microseconds, is nothing.
PCIE_BYTES_A_MS = 20e6


def projection(row: Mapping[str, Any], parts: Mapping[str, float], workers: int) -> dict[str, Any]:
    """Minutes for the corpus by machine, and a line on each that says what was measured and what is arithmetic.

    As measured: the verified rate of this run. With more cores: that rate in proportion to the cores, for storage that
    keeps up. With one GPU: the same, a worker's label time replaced by the transfer of the frame; not run on a GPU.
    """
    height, width = (int(part) for part in str(row["case"]).split()[0].split("x"))
    rate = row["frames_per_second"]
    a_core = rate / workers
    gpu_ms = 3 * height * width / PCIE_BYTES_A_MS
    whole = sum(parts.values())
    faster = whole / (whole - parts["label"] + gpu_ms)
    rates = {
        f"{workers} cores": rate,
        f"{CORES} cores": a_core * CORES,
        f"{workers} cores and one GPU": rate * faster,
        f"{CORES} cores and one GPU": a_core * CORES * faster,
    }
    minutes = {name: CORPUS / r / 60 for name, r in rates.items()}
    moved = (row["bytes_read_a_frame"] + row["bytes_written_a_frame"]) / 1e6
    lines = [
        f"{CORPUS:,} frames on {name}: {minutes[name]:.0f} min at {r:.0f} frames/s, {r * moved:.0f} MB/s of storage"
        f" ({'the measured rate' if name == f'{workers} cores' else 'arithmetic'})"
        for name, r in rates.items()
    ]
    check = CORPUS * row["verify_s"] / row["frames"] / 60
    lines.append(f"fastseg verify of them: {check:.0f} min more (arithmetic from {row['frames']} frames)")
    return {"frames": CORPUS, "minutes": minutes, "verify_minutes": check, "gpu_label_ms": gpu_ms, "lines": lines}
