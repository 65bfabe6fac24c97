"""HN-labels of many frames by few calls of the op, on whichever device the frames are put."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from fastseg.frames import Frame, FrameError
from fastseg.labels.hn import HNConfig, HNLabel, arguments, judged
from fastseg.ops import arrays
from fastseg.ops import hn_labels as op

Put = Callable[[np.ndarray[tuple[int, ...], np.dtype[np.generic]]], arrays.Array]


def label_frames(frames: Sequence[Frame], config: HNConfig, put: Put) -> list[HNLabel | FrameError]:
    """For each frame what `labels.hn.label_frame` makes of it: its label, or the FrameError that rejects it.

    put: takes a stack of depth images (N, H, W) uint16 or float32 to the library and device that shall label it
    (`np.asarray`, `ops.arrays.on_gpu`). The op knows one camera a call: frames of equal camera, depth scale and element
    type are labelled together, so a corpus of one camera takes one call.

    On the CPU the result does not depend on the batch. A GPU contracts multiplications and additions otherwise: single
    pixels at the edge of a bin move, as the tests of the op have it.
    """
    found: dict[int, HNLabel | FrameError] = {}
    for numbers in _alike(frames):
        made = _labelled([frames[i] for i in numbers], config, put)
        for place, i in enumerate(numbers):
            try:
                found[i] = judged(made, place, config)
            except FrameError as error:
                found[i] = error
    return [found[i] for i in range(len(frames))]


def _alike(frames: Sequence[Frame]) -> list[list[int]]:
    """The indices of frames that one call may take, in order."""
    groups: dict[object, list[int]] = {}
    for i, frame in enumerate(frames):
        groups.setdefault((frame.camera, frame.depth_scale, frame.depth.dtype.str), []).append(i)
    return list(groups.values())


def _labelled(frames: Sequence[Frame], config: HNConfig, put: Put) -> op.HNLabels:
    """What the op found, as numpy arrays."""
    level = np.array([0.0, -1.0, 0.0])
    first = frames[0]
    made = op.hn_labels(
        put(np.stack([frame.depth for frame in frames])), first.camera, depth_scale=first.depth_scale,
        prior=np.stack([level if frame.up_prior is None else frame.up_prior for frame in frames]), **arguments(config),
    )  # fmt: skip
    there = {f.name: getattr(made, f.name) for f in fields(made)}
    return replace(made, **{name: arrays.fetched(array) for name, array in there.items() if array is not None})
