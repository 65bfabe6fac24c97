"""Files that cost far more to open than to keep, for test_bombs.py; run as a program it reads them and says the cost.

python bombs.py FOLDER    prints `NAME reason` for each, then `MB n`: how far the peak of memory rose
"""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from fastseg.data.checks import read_color, read_pose
from fastseg.data.images import decode_depth, decode_label
from fastseg.data.intrinsics import read_intrinsics
from fastseg.data.matlab import read_matlab
from fastseg.data.nyuv2 import NyuFile, NyuFrames
from fastseg.data.tum import Tum
from fastseg.frames import FrameError

EXPECTED = {
    "square.png": "too-large", "lying.png": "decode", "one_pixel.png": "decode", "sparse.png": "too-large",
    "square.npy": "too-large", "endless.npy": "too-large", "long_header.npy": "decode", "zeros.pgm": "too-large",
    "short.pgm": "decode", "square.tiff": "too-large", "strip.tiff": "decode", "device.npy": "too-large",
    "color_text.png": "too-large", "color.webp": "too-large", "color_lossless.webp": "too-large",
    "color.jpg": "too-large", "pose.txt": "too-large", "intrinsics.json": "intrinsics", "label.png": "decode",
    "frames.mat": "refused", "chunk.mat": "refused", "names.mat": "refused", "splits.mat": "refused",
    "tum": "too-large", "archive.npy": "decode",
}  # fmt: skip


def bomb(size: int) -> bytes:
    """A zlib stream of `size` zeros, a thousandth of it long."""
    deflate, out = zlib.compressobj(1), []
    for _ in range(size // 2**24):
        out.append(deflate.compress(bytes(2**24)))
    return b"".join((*out, deflate.compress(bytes(size % 2**24)), deflate.flush()))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, bits: int = 16, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(header)) + header


def tiff(width: int, height: int, strip: bytes) -> bytes:
    """A little-endian TIFF of one deflated strip of 16-bit grey."""
    tags = {256: width, 257: height, 258: 16, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def webp(kind: bytes, body: bytes) -> bytes:
    inside = b"WEBP" + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def mat5(name: bytes, pixels: bytes) -> bytes:
    """A MATLAB 5 file of one compressed element."""
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    return head + struct.pack("<II", 15, len(pixels)) + pixels


def sparse(path: Path, size: int = 2**36) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def write_hdf5(folder: Path) -> None:
    """Three .mat files that are small on disk: a trillion frames, a chunk of a gigabyte, a billion names."""
    shapes = {"images": ((3, 640, 480), "u1"), "depths": ((640, 480), "f4"), "labels": ((640, 480), "u2")}
    for name, count in (("frames.mat", 2**40), ("chunk.mat", 1), ("names.mat", 1)):
        with h5py.File(folder / name, "w") as file:
            for key, (shape, kind) in shapes.items():
                options = {"compression": "gzip", "maxshape": (None, *shape)}
                first = 2**10 if name == "chunk.mat" else 1
                file.create_dataset(key, (count, *shape), kind, chunks=(first, *shape), **options)
            file.create_dataset("names", (1, 2**30), h5py.ref_dtype, chunks=(1, 2**16))
            file.create_dataset("text", (9, 1), "u2")


def write(folder: Path) -> None:
    """Every file of `EXPECTED` in the folder."""
    big = bomb(2**28)
    files = {
        "square.png": png(20000, 20000, big), "lying.png": png(3840, 2000, big),
        "one_pixel.png": png(1, 1, big), "square.npy": npy("(90000, 90000)"),
        "endless.npy": npy("(4611686018427387904, 1)"),
        "long_header.npy": np.lib.format.magic(2, 0) + struct.pack("<I", 2**31 - 1) + b"{" * 999,
        "zeros.pgm": b"P5 20000 20000 65535\n", "short.pgm": b"P5 3840 2000 65535\n" + bytes(99),
        "square.tiff": tiff(60000, 60000, big), "strip.tiff": tiff(100, 100, big),
        "color_text.png": png(20000, 20000, big, 8, chunk(b"zTXt", b"a\0\0" + big)),
        "color.webp": webp(b"VP8X", struct.pack("<I", 0) + b"\xff\xff\x00\xff\xff\x00"),
        "color_lossless.webp": webp(b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(9)),
        "color.jpg": bytes.fromhex("ffd8ffc00011 08 ffdc ffdc 03 012200 021101 031101 ffd9".replace(" ", "")),
        "label.png": png(4000, 2000, big, 8), "splits.mat": mat5(b"trainNdxs", big),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for name in ("sparse.png", "pose.txt", "intrinsics.json"):
        sparse(folder / name)
    (folder / "device.npy").symlink_to("/dev/zero")
    with zipfile.ZipFile(folder / "archive.npy", "w", zipfile.ZIP_DEFLATED) as archive:  # what np.load takes for an npz
        archive.writestr("arr_0.npy", npy("(8192, 8192)") + bytes(2**28))
    (folder / "tum").mkdir()
    sparse(folder / "tum" / "depth.txt")
    (folder / "good.png").write_bytes(png(1, 1, zlib.compress(bytes(3))))
    scipy.io.savemat(folder / "good.mat", {"trainNdxs": [1]})
    write_hdf5(folder)


def peak_mb() -> int:
    """The most memory this process has had resident. (getrusage would count the parent's before the exec.)"""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def read(path: Path) -> None:
    name = path.name
    if name == "tum":
        Tum(path)
    elif name == "names.mat":
        NyuFile(path).names()
    elif name == "splits.mat":
        read_matlab(path, "trainNdxs")
    elif name.endswith(".mat"):
        NyuFrames(path).ids()
    elif name == "intrinsics.json":
        read_intrinsics(path)
    elif name.startswith("color"):
        read_color(path, (480, 640), path)
    elif name == "label.png":
        decode_label(path)
    elif name == "pose.txt":
        read_pose(path)
    else:
        decode_depth(path)


def main(folder: Path) -> None:
    decode_depth(folder / "good.png")
    scipy.io.whosmat(folder / "good.mat")  # so that imports and first calls do not count
    start = peak_mb()
    for name in EXPECTED:
        try:
            read(folder / name)
            print(name, "read")
        except FrameError as error:
            print(name, error.reason)
        except (ValueError, OSError) as error:
            print(name, "refused" if str(error) and "\n" not in str(error) else repr(error))
    print("MB", peak_mb() - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
