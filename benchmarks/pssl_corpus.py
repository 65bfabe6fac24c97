"""A corpus of small classified pictures with files of every bad kind, and two classifiers to explain them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = tuple(f"class-{i}" for i in range(10))
NETS = ("squeezenet1_1", "shufflenet_v2_x0_5")  # of torchvision, the smallest two
OUTPUTS = 1000
EXIF_ORIENTATION, QUARTER_TURN = 274, 6


def picture(seed: int, side: int) -> Image.Image:
    """A coarse pattern of colours, made smooth: small as a JPEG, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def vast_png() -> bytes:
    """A PNG whose header promises 20,000 x 20,000 pixels, of which there are none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def odd_files(seed: int, side: int) -> dict[str, tuple[bytes, str]]:
    """Name below the root -> bytes and the reason that the file is rejected for, empty where it is labelled."""
    image, exif, folder = picture(seed, side), Image.Exif(), CLASSES[seed % len(CLASSES)]
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    plain, frames = encoded(image), {"save_all": True, "append_images": [picture(seed + 1, side)]}
    deep = Image.fromarray((np.asarray(image)[..., 0].astype(np.uint16) << 8) + 7)
    kinds = {
        "cmyk.jpg": (encoded(image.convert("CMYK")), ""),
        "rotated.jpg": (encoded(image, exif=exif), ""),
        "grey.jpg": (encoded(image.convert("L")), ""),
        "palette.png": (encoded(image.quantize(), "PNG"), ""),
        "deep.png": (encoded(deep, "PNG"), "type"),
        "animated.webp": (encoded(image, "WEBP", **frames), "animated"),
        "moving.png": (encoded(image, "PNG", **frames), "animated"),
        "truncated.jpg": (plain[: len(plain) * 2 // 3], "decode"),
        "empty.jpg": (b"", "decode"),
        "gif.jpg": (encoded(image, "GIF"), "decode"),
        "vast.png": (vast_png(), "too-large"),
    }
    found = {f"{folder}/{seed:06}-{name}": each for name, each in kinds.items()}
    return found | {f"no-class/{seed:06}-fine.jpg": (plain, "class")}


def write_pictures(root: Path, pictures: int, side: int, odd_every: int) -> dict[str, str]:
    """The id of every picture and the reason that it is rejected for, empty where it is labelled.

    pictures    in all
    odd_every   after so many plain ones come twelve of another kind (`odd_files`)
    """
    expected: dict[str, str] = {}
    for name, data, reason in _files(side, odd_every):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        expected[name.rpartition(".")[0]] = reason
        if len(expected) == pictures:
            return expected
    raise AssertionError("there is no end of pictures")


def _files(side: int, odd_every: int) -> Iterator[tuple[str, bytes, str]]:
    seed = 0
    while True:
        yield f"{CLASSES[seed % len(CLASSES)]}/{seed:06}.jpg", encoded(picture(seed, side)), ""
        seed += 1
        if seed % odd_every == 0:
            for name, (data, reason) in odd_files(seed, side).items():
                yield name, data, reason


def write_classifiers(folder: Path, side: int) -> Path:
    """The list of two classifiers with random weights of their own: what a run survives does not depend on them."""
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    folder.mkdir(parents=True, exist_ok=True)
    others = (f"other-{i}" for i in range(OUTPUTS - len(CLASSES)))
    (folder / "names.txt").write_text("\n".join((*CLASSES, *others)))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    listed = []
    for seed, arch in enumerate(NETS):
        torch.manual_seed(seed)
        save_file(models.get_model(arch).state_dict(), folder / f"{arch}.safetensors")
        about = {"arch": f"torchvision:{arch}", "weights": f"{arch}.safetensors", "classes": "names.txt"}
        listed.append(about | {"size": side})
    (folder / "models.json").write_text(json.dumps(listed))
    return folder / "models.json"
