"""The fuzz matrix L11 for any reader: a small whole data set, damaged by seed, must never give a wrong label.

    kit = Kit(files, frame, depth, stored, encode, open, unseen={...}, special={...})
    tally = run(kit, range(200), tmp_path)
    assert tally.wrong == [], tally

A reader's test makes a `Kit` of one good frame (`stored` of `scene_m` in the reader's unit makes one that has a label).
"""

from __future__ import annotations

import io
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastseg.frames import Camera, FrameError, FrameSource
from fastseg.labels.hn import HNConfig, label_frame

REASONS = {
    "missing", "decode", "type", "size", "too-large", "intrinsics", "scale", "no-depth", "gravity", "no-floor", "id",
}  # fmt: skip
SEEDS = 200
HANG_S = 20

Files = dict[str, bytes]


@dataclass(frozen=True)
class Kit:
    """A whole data set as files, and what is known of its format.

    files    name below the root -> bytes; undamaged, `frame` has a label
    frame    the id of the frame under test
    depth    the name of the file with its depth
    stored   its depth as stored (H, W), in the file's own dtype and unit
    encode   depth of any dtype and shape -> the changed files; ValueError or TypeError where the format cannot hold it
    open     opens the data set at a root
    own      files whose damage may reject frames but must not refuse the run (the depth file always)
    unseen   name of a file -> why a flipped byte in it cannot be seen; such a flip may give another label
    special  name of a damage of this reader (absurd intrinsics, zero gravity, ...) -> the changed files
    whole    the file with the depth holds the whole data set: its damage may refuse the run
    """

    files: Files
    frame: str
    depth: str
    stored: np.ndarray
    encode: Callable[[np.ndarray], Files]
    open: Callable[[Path], FrameSource]
    own: tuple[str, ...] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)
    special: Mapping[str, Files] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True)
class Damage:
    """Changed files, what was done to them, and whether another label than the good one would be a false one."""

    what: str
    files: Files
    seen: bool = True


@dataclass
class Tally:
    """Outcomes counted (`label`: the same as undamaged), what cannot be seen by name, and all that went wrong."""

    outcomes: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def scene_m(camera: Camera, above_floor: float = 1.2, wall: float = 3.0) -> np.ndarray:
    """Depth (H, W) float64 metres of a level camera before a floor and a wall, with 0.1 % of noise: it has a label."""
    below = np.maximum(np.arange(camera.height) - camera.cy, 1e-9) / camera.fy
    exact = np.repeat(np.minimum(above_floor / below, wall)[:, None], camera.width, 1)
    return exact * (1 + 0.001 * np.random.default_rng(0).standard_normal(exact.shape))


def arrays(stored: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Damages of the depth as an array: other dtypes, shapes, values and units."""
    top = np.finfo if stored.dtype.kind == "f" else np.iinfo
    kinds = ("uint8", "int8", "int16", "int32", "uint32", "float16", "float64", "complex64", "bool")
    made: dict[str, Callable[[], np.ndarray]] = {f"dtype {kind}": partial(stored.astype, kind) for kind in kinds}
    made |= {
        "transposed": lambda: np.ascontiguousarray(stored.T), "a row short": lambda: stored[:-1].copy(),
        "a column more": lambda: np.pad(stored, ((0, 0), (0, 1))), "half the size": lambda: stored[::2, ::2].copy(),
        "one pixel": lambda: stored[:1, :1].copy(), "empty": lambda: stored[:0], "flat": lambda: stored.ravel(),
        "three channels": lambda: np.dstack([stored] * 3), "one channel more": lambda: stored[..., None],
        "zero": lambda: stored * 0, "maximum": lambda: np.full_like(stored, top(stored.dtype).max),
        "negative": lambda: -stored.astype(np.float32 if stored.dtype.kind == "f" else np.int32),
        "one valid pixel": lambda: np.where(np.arange(stored.size).reshape(stored.shape) == 7, stored, 0),
        "NaN": lambda: np.full(stored.shape, np.nan, np.float32),
        "infinity": lambda: np.full(stored.shape, np.inf, np.float32),
        "a thousand times": lambda: stored * np.float32(1000), "a thousandth": lambda: stored * np.float32(0.001),
    }  # fmt: skip
    return made


def mutation(kit: Kit, seed: int) -> Damage:
    """The damage of that seed: any `SEEDS` seeds in a row hold every kind, and the first of them a mixture."""
    turn = seed * 77 % SEEDS  # 77 and 200 have no common factor: each turn once
    rng = np.random.default_rng(seed)
    names, changes, special = sorted(kit.files), arrays(kit.stored), sorted(kit.special)
    if turn < 40:
        name = kit.depth if turn < 20 else names[rng.integers(len(names))]
        data = kit.files[name]
        kept = min(len(data) * (turn % 20) // 19, len(data) - 1)
        return Damage(f"{name} truncated to {kept} of {len(data)} bytes", {name: data[: max(kept, 0)]})
    if turn < 120 and not (special and turn >= 100):
        return _flipped(kit, kit.depth if turn < 70 else names[rng.integers(len(names))], rng)
    if turn < 120:
        name = special[turn % len(special)]
        return Damage(name, kit.special[name])
    name = list(changes)[turn % len(changes)]
    try:
        return Damage(f"depth: {name}", kit.encode(changes[name]()))
    except (ValueError, TypeError, OSError, KeyError, SystemError, OverflowError):
        return _flipped(kit, kit.depth, rng)  # the format cannot hold such an array


def _flipped(kit: Kit, name: str, rng: np.random.Generator) -> Damage:
    data = bytearray(kit.files[name])
    at = sorted({int(rng.integers(len(data))) for _ in range(rng.integers(1, 5))}) if data else []
    for k in at:
        data[k] ^= int(rng.integers(1, 256))
    return Damage(f"{name} with bytes {at} changed", {name: bytes(data)}, seen=name not in kit.unseen)


def run(kit: Kit, seeds: Iterable[int], folder: Path) -> Tally:
    """What became of the frame under each damage; `wrong` names crashes, unknown reasons and false labels."""
    tally = Tally()
    _write(folder, kit.files)
    what, good = outcome(kit, folder)
    if what != "label":
        return Tally(wrong=[f"the undamaged frame is {what}"])
    for seed in seeds:
        damage = mutation(kit, seed)
        _write(folder, damage.files)
        _judge(kit, damage, f"seed {seed}, {damage.what}", good, folder, tally)
        for name in damage.files.keys() - kit.files.keys():
            (folder / name).unlink()
        _write(folder, {name: kit.files[name] for name in damage.files.keys() & kit.files.keys()})
    return tally


def outcome(kit: Kit, folder: Path) -> tuple[str, Any]:
    """(`label`, what the row rests on), or (a reason, `refused` for the whole run, `unlisted`, None)."""
    try:
        source = kit.open(folder)
        ids = source.ids()
    except (ValueError, OSError) as error:
        return ("refused", None) if "\n" not in str(error) and str(error) else ("refused without a sentence", None)
    if kit.frame not in ids:
        return "unlisted", None
    try:
        frame = source.load(kit.frame)
        made = label_frame(frame, HNConfig())
    except FrameError as error:
        return error.reason, None
    return "label", (made.label.tobytes(), made.up.tobytes(), made.floor_m, frame.image)


def _judge(kit: Kit, damage: Damage, name: str, good: Any, folder: Path, tally: Tally) -> None:
    try:
        with _alarm():
            what, row = outcome(kit, folder)
    except Exception as error:  # the very thing that must not happen
        tally.wrong.append(f"{name}: {type(error).__name__}: {error}")
        return
    tally.outcomes[what] += 1
    own = {*kit.own} if kit.whole else {kit.depth, *kit.own}
    if what == "label" and row != good:
        if damage.seen:
            tally.wrong.append(f"{name}: a false label")
        else:
            tally.unseen.update(sorted(damage.files))
    elif what in ("refused", "unlisted") and damage.files.keys() <= own:
        tally.wrong.append(f"{name}: {what}, for one frame's file")
    elif what not in REASONS | {"label", "refused", "unlisted"}:
        tally.wrong.append(f"{name}: {what}")


@contextmanager
def _alarm() -> Iterator[None]:
    """Ends a loop after HANG_S of processor time: a busy machine is no hang. What waits ends at pytest's own limit."""

    def late(*_: object) -> None:
        raise TimeoutError(f"took longer than {HANG_S} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def encoded(array: np.ndarray, kind: str) -> bytes:
    """A picture file of the array, `kind` as Pillow names it (PNG, TIFF, JPEG); `npy`; `pgm`, 16 bits big-endian."""
    buffer = io.BytesIO()
    if kind == "npy":
        np.save(buffer, array)
    elif kind == "pgm":
        if array.dtype != np.uint16 or array.ndim != 2:
            raise ValueError("a 16-bit PGM holds uint16 (H, W)")
        buffer.write(b"P5\n%d %d\n65535\n" % array.shape[::-1] + array.astype(">u2").tobytes())
    else:
        Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()
