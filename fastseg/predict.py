"""Segment images, folders and videos with a checkpoint: `python -m fastseg.predict CHECKPOINT INPUT --out DIR`.

An image gives NAME.png (a palette PNG whose indices are the classes) and NAME.overlay.jpg; a folder keeps its tree; a
video gives NAME.overlay.mp4, and with `labels` the classes of every frame. DIR/classes.txt names the classes.
A depth network gives NAME.png (16-bit millimetres) or NAME.npy, and NAME.depth.jpg, a video NAME.depth.mp4.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastseg.cli import run
from fastseg.inference import Views
from fastseg.pictures import Picture
from fastseg.predict_film import Film
from fastseg.predict_look import ClassLook, DepthFile, DepthLook, Look

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")


@dataclass(frozen=True)
class Predict:
    """Segment images, folders of images, or a video.

    checkpoint  a checkpoint folder, or a run's folder (its last good one)
    input       an image, a folder, or a video
    out         the folder to write
    labels      write the classes as palette PNGs, or the depth
    overlay     write the classes over the grey of the image, or the depth in colours
    size        HEIGHTxWIDTH that the network sees, empty = as in training
    device      cpu, cuda, cuda:1, ...; auto = cuda where there is one
    threads     of torch on the CPU, 0 = torch's own choice
    views       scales, flips and windows whose probabilities are averaged; of depth, flips
    depth       png: depth as 16-bit millimetres, 0 = beyond 65.535 m; npy: float32 metres
    """

    checkpoint: Path
    input: Path
    out: Path
    labels: bool = True
    overlay: bool = True
    size: str = ""
    device: str = "auto"
    threads: int = 0
    views: Views = field(default_factory=Views)
    depth: DepthFile = "png"


def main(config: Predict) -> int:
    """0 when everything was done, 1 when some images could not be read (each is named)."""
    from fastseg.checkpoint import load
    from fastseg.inference_depth import predicts_depth

    found = _inputs(config.input)
    _check_out(config, found)
    checkpoint = load(config.checkpoint)
    look: Look = DepthLook(config, checkpoint) if predicts_depth(checkpoint) else ClassLook(config, checkpoint)
    config.out.mkdir(parents=True, exist_ok=True)
    look.begin(config.out)
    if config.input.suffix.lower() in VIDEOS:
        print(f"{config.input}: {_video(config, look)} frames {look.done} {config.out}")
        return 0
    bad = 0
    for path, stem in found:
        try:
            image = _read(path)
        except ValueError as error:
            print(error, file=sys.stderr)
            bad += 1
            continue
        _write(config, config.out / stem, image, look)
    print(f"{len(found) - bad} of {len(found)} images {look.done} {config.out}")
    return 1 if bad else 0


def _inputs(path: Path) -> list[tuple[Path, str]]:
    """The images to segment with their names below `out`; ValueError or FileNotFoundError when there is none."""
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGES and p.is_file()]
        if not found:
            raise ValueError(f"{path}: expected images ({', '.join(IMAGES)}); the folder holds none")
        return [(p, str(p.relative_to(path).with_suffix(""))) for p in found]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an image, a folder of images or a video; there is none")
    if path.suffix.lower() not in (*IMAGES, *VIDEOS):
        raise ValueError(f"{path}: expected an image ({', '.join(IMAGES)}) or a video ({', '.join(VIDEOS)})")
    return [(path, path.stem)]


def _check_out(config: Predict, found: list[tuple[Path, str]]) -> None:
    """None; ValueError where what is written would take the place of an image, or of what another image gives."""
    first: dict[str, Path] = {}
    for path, stem in found:
        if stem in first:
            raise ValueError(f"{first[stem]} and {path} would both give {stem}.png; give one of them another name")
        first[stem] = path
    given, out = config.input.resolve(), config.out.resolve()
    if out.is_relative_to(given) or out / f"{given.stem}.png" == given:
        raise ValueError(f"--out {config.out} lies among the images of {config.input}, which must stay as they are")


def _read(path: Path) -> Picture:
    from fastseg.data.images import decode_color, read_bytes

    return decode_color(read_bytes(path), str(path))


def _write(config: Predict, stem: Path, image: Picture, look: Look) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    seen = look.see(image)
    if config.labels:
        look.save(stem, seen)
    if config.overlay:
        from fastseg.pictures import encoded

        painted = encoded(look.painted(image, seen), "jpeg")
        stem.with_name(f"{stem.name}.{look.kind}.jpg").write_bytes(painted)


def _video(config: Predict, look: Look) -> int:
    """The number of frames seen; ValueError for a video that cannot be read."""
    frames, stem = 0, config.out / config.input.stem
    with Film(config.input, stem.with_name(f"{stem.name}.{look.kind}.mp4") if config.overlay else None) as film:
        for image in film.frames():
            seen = look.see(image)
            if config.labels:
                stem.mkdir(exist_ok=True)
                look.save(stem / f"{frames:06}", seen)
            if config.overlay:
                film.write(look.painted(image, seen))
            frames += 1
    if not frames:
        raise ValueError(f"{config.input}: expected a video; it holds no frame that can be decoded")
    return frames


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg predict CHECKPOINT INPUT --out DIR`."""
    return run(Predict, main, argv, positional=("checkpoint", "input"), prog="fastseg predict")


if __name__ == "__main__":
    sys.exit(cli())
