"""Segment images, folders and videos with a checkpoint: `python -m fastseg.predict CHECKPOINT INPUT --out DIR`.

An image gives NAME.png (a palette PNG whose indices are the classes) and NAME.overlay.jpg; a folder keeps its tree; a
video gives NAME.overlay.mp4, and with `labels` the classes of every frame. DIR/classes.txt names the classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import Checkpoint
from fastseg.cli import run
from fastseg.inference import Views

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
Picture = npt.NDArray[np.uint8]
Segmenter = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Predict:
    """Segment images, folders of images, or a video.

    checkpoint  a checkpoint folder, or a run's folder (its last good one)
    input       an image, a folder, or a video
    out         the folder to write
    labels      write the classes as palette PNGs
    overlay     write the classes over the grey of the image
    size        HEIGHTxWIDTH that the network sees, empty = as in training
    device      cpu, cuda, cuda:1, ...; auto = cuda where there is one
    threads     of torch on the CPU, 0 = torch's own choice
    views       scales, flips and windows whose probabilities are averaged
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


def main(config: Predict) -> int:
    """0 when everything was segmented, 1 when some images could not be read (each is named)."""
    from fastseg.checkpoint import load
    from fastseg.inference import check_labels_pixels, check_reads_images

    found = _inputs(config.input)
    _check_out(config, found)
    checkpoint = load(config.checkpoint)
    check_labels_pixels(checkpoint)
    check_reads_images(checkpoint)
    names = checkpoint.record.classes
    segment = segmenter(config, checkpoint)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    if config.input.suffix.lower() in VIDEOS:
        count = _video(config, segment, len(names))
        print(f"{config.input}: {count} frames segmented into {config.out}")
        return 0
    bad = 0
    for path, stem in found:
        try:
            image = _read(path)
        except ValueError as error:
            print(error, file=sys.stderr)
            bad += 1
            continue
        _write(config, config.out / stem, image, segment(image), len(names))
    print(f"{len(found) - bad} of {len(found)} images segmented into {config.out}")
    return 1 if bad else 0


def segmenter(config: Predict, found: Checkpoint) -> Segmenter:
    """The function from an image (H, W, 3) uint8 to its classes (H, W) uint8 (65,535 classes do not occur here)."""
    import torch

    from fastseg.data.augment import resized
    from fastseg.inference import predictions, restored
    from fastseg.loop import chosen_device
    from fastseg.methods import parse_size

    if config.threads:
        torch.set_num_threads(config.threads)
    net = restored(found).to(chosen_device(config.device))
    size = parse_size(config.size) if config.size else found.record.size

    def segment(image: Picture) -> Picture:
        look = [resized(image, size)]
        (classes,) = predictions(net, look, [image.shape[:2]], found.record.normalisation, config.views)
        return classes.cpu().numpy().astype(np.uint8)

    return segment


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


def _write(config: Predict, stem: Path, image: Picture, classes: Picture, count: int) -> None:
    from PIL import Image

    from fastseg.pictures import class_palette, encoded, label_picture, overlay

    stem.parent.mkdir(parents=True, exist_ok=True)
    palette = class_palette(count)
    if config.labels:
        picture = Image.fromarray(classes)
        picture.putpalette(palette.tobytes())
        picture.save(stem.with_name(f"{stem.name}.png"))
    if config.overlay:
        painted = overlay(image, label_picture(classes, palette))
        stem.with_name(f"{stem.name}.overlay.jpg").write_bytes(encoded(painted, "jpeg"))


def _video(config: Predict, segment: Segmenter, count: int) -> int:
    """The number of frames segmented; ValueError for a video that cannot be read."""
    from fastseg.pictures import class_palette, label_picture, overlay

    palette, stem = class_palette(count), config.out / config.input.stem
    frames = 0
    with _Film(config.input, stem.with_name(f"{stem.name}.overlay.mp4") if config.overlay else None) as film:
        for image in film.frames():
            classes = segment(image)
            if config.labels:
                one = replace(config, overlay=False)
                _write(one, stem / f"{frames:06}", image, classes, count)
            film.write(overlay(image, label_picture(classes, palette)))
            frames += 1
    if not frames:
        raise ValueError(f"{config.input}: expected a video; it holds no frame that can be decoded")
    return frames


class _Film:
    """A video's frames in order, and the film that is made of them at the same rate."""

    def __init__(self, path: Path, out: Path | None) -> None:
        try:
            import av
        except ImportError as error:
            raise ValueError("videos need PyAV: pip install 'fastseg[video]'") from error
        self._av: Any = av
        self.path = path
        try:
            self._source: Any = av.open(str(path))
            self._stream = self._source.streams.video[0]
        except (av.FFmpegError, IndexError, OSError) as error:
            raise ValueError(f"{path}: expected a video that can be decoded ({error})") from error
        self._out: Any = av.open(str(out), "w") if out else None
        self._film: Any = None

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, *error: object) -> None:
        if self._out is not None:
            if self._film is not None:
                self._out.mux(self._film.encode())
            self._out.close()
        self._source.close()

    def frames(self) -> Iterator[Picture]:
        """The frames (H, W, 3) uint8 RGB; a damaged end stops them, with a line that says so."""
        try:
            for frame in self._source.decode(self._stream):
                yield frame.to_ndarray(format="rgb24")
        except self._av.FFmpegError as error:
            print(f"{self.path}: decoding stopped ({error})", file=sys.stderr)

    def write(self, picture: Picture) -> None:
        """Append one picture, cut to even sides as the codec wants."""
        if self._out is None:
            return
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._film is None:
            self._film = self._out.add_stream("h264", rate=self._stream.average_rate or 25)
            self._film.width, self._film.height, self._film.pix_fmt = width, height, "yuv420p"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        self._out.mux(self._film.encode(frame))


def cli(argv: Sequence[str] | None = None) -> int:
    """The exit code of `fastseg predict CHECKPOINT INPUT --out DIR`."""
    return run(Predict, main, argv, positional=("checkpoint", "input"), prog="fastseg predict")


if __name__ == "__main__":
    sys.exit(cli())
