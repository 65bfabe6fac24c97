"""L11 for NYUv2's raw recordings. Their files carry no checksum: a flip that leaves 11 bits is another measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz import SEEDS, Files, Kit, Tally, run
from kinect_recording import NAME, dump, pgm, ppm, seen

from fastseg.data.nyuv2_raw import NyuRaw

SCENE = "bedroom_0001"
DEPTH, COLOR, FELT, INDEX = (f"{SCENE}/{n}" for n in (f"d-{NAME}.pgm", f"r-{NAME}.ppm", f"a-{NAME}.dump", "INDEX.txt"))
NO_CHECKSUM = "raw bytes carry no checksum"


def encode(array: np.ndarray) -> Files:
    """A 16-bit PGM of any size, as the recorder would write it."""
    if array.dtype != np.uint16 or array.ndim != 2:
        raise ValueError("a 16-bit PGM holds uint16 (H, W)")
    return {DEPTH: b"P5 %d %d 65535\n" % array.shape[::-1] + array.astype("<u2").tobytes()}


def kit() -> Kit:
    raw, color, exact = seen()
    lines = "".join(f"{name.partition('/')[2]}\n" for name in (FELT, COLOR, DEPTH)).encode()
    up = np.array([0.0, -1.0, 0.0])
    special: dict[str, Files] = {
        "zero gravity": {FELT: bytes(12)}, "three g": {FELT: dump(up, 3.0)}, "a tenth of a g": {FELT: dump(up, 0.1)},
        "an empty list": {INDEX: b""}, "a list of others": {INDEX: b"d-9.0-1.pgm\nr-9.0-1.ppm\n"},
        "a list that leads out": {INDEX: b"../../etc/d-1.0-1.pgm\n"},
        "eight bits": {DEPTH: b"P5 640 480 255\n" + bytes(307200)},
        "depth beyond ten metres": {DEPTH: pgm(np.full((480, 640), 1090))},
        "a huge list": {INDEX: b"d-1.0-1.pgm\n" * 10**5},
        "a third kind": {f"{SCENE}/x-1.0-1.pgm": b"?"}, "colour that is grey": {COLOR: pgm(raw)},
        "a header of a terabyte": {COLOR: b"P6 900000 900000 255\n" + bytes(99)},
    }  # fmt: skip
    return Kit(
        {DEPTH: pgm(raw), COLOR: ppm(color), FELT: dump(exact.up), INDEX: lines}, f"{SCENE}/d-{NAME}", DEPTH, raw,
        encode, NyuRaw, (COLOR, FELT), {name: NO_CHECKSUM for name in (DEPTH, COLOR, FELT)}, special,
    )  # fmt: skip


def test_damaged_recordings_end_in_a_reason_or_the_right_label(tmp_path: Path) -> None:
    tally = run(kit(), range(40), tmp_path)
    assert tally.wrong == [] and tally.outcomes.total() == 40, tally


@pytest.mark.slow
@pytest.mark.chaos
def test_two_hundred_damages_of_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally: Tally = run(kit(), range(SEEDS), tmp_path)
    with capsys.disabled():
        print(f"\nnyuv2-raw: {dict(tally.outcomes)}, unseen {dict(tally.unseen)}")
    assert tally.wrong == [] and tally.outcomes.total() == SEEDS
