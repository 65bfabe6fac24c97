"""Images with measured depth by name: what a depth network is scored on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from fastseg.data.clip_plan import ClipPlan
from fastseg.data.clip_sources import open_clips, with_depth
from fastseg.data.sources import Reader
from fastseg.data.unlabelled import MeasuredImages

WithDepth = Literal[Reader, "stereo"]
WITH_DEPTH: tuple[str, ...] = get_args(WithDepth)


def open_measured(name: WithDepth, root: Path | str, split: str = "") -> MeasuredImages:
    """The images at `root` with their depth: the frames of a reader, rooms as walked through, pairs with disparity.

    split: what the reader takes (nyuv2, cityscapes); empty = all.
    Raises FileNotFoundError, ValueError or FrameError with one sentence when there are none.
    """
    plan = ClipPlan(())
    if name == "stereo" or name == "rooms":
        if split:
            raise ValueError(f"{name} with depth have no splits; got --split {split}")
        return MeasuredImages(with_depth(open_clips(name, root, plan)))
    return MeasuredImages(with_depth(open_clips("frames", root, plan, reader=name, split=split or None)))
