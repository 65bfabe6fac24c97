"""What monodepth may learn in depth's place, for comparison: optical flow, and pictures with holes in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FlowConfig:
    """How well a source frame seen through a flow must explain its target; the paper's weights.

    colour       weight of |I - I'|
    structure    weight of 1 - SSIM
    ssim         the window of SSIM: 3x3 or 7x7 box, 11x11 Gaussian
    smoothness   weight of edge-aware smoothness of the flow, in widths of the image: in pixels, no flow at all would
                 cost less than the true one
    """

    colour: float = 0.15
    structure: float = 0.15
    ssim: Literal["box3", "box7", "gauss11"] = "box3"
    smoothness: float = 5.0

    def __post_init__(self) -> None:
        for name in ("colour", "structure", "smoothness"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"flow.{name} must not be negative; got {getattr(self, name):g}")
        if not self.colour + self.structure:
            raise ValueError("flow.colour and flow.structure are both 0: nothing would be compared")


@dataclass(frozen=True)
class InpaintConfig:
    """Which parts of a picture are removed, and what restoring them is worth.

    holes      rectangles removed from each picture; they may overlap
    smallest   the least side of one, as a part of the picture's
    largest    and the greatest (uniform, height and width each)
    kept       weight of the pixels that were not removed beside those that were; 1 = the whole picture counts
    """

    holes: int = 8
    smallest: float = 0.1
    largest: float = 0.35
    kept: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.holes <= 1000:
            raise ValueError(f"inpaint.holes must lie between 1 and 1000; got {self.holes}")
        if not 0 < self.smallest <= self.largest <= 1:
            sides = f"{self.smallest:g} and {self.largest:g}"
            raise ValueError(f"the sides of holes must be 0 < inpaint.smallest <= inpaint.largest <= 1; got {sides}")
        if not 0 <= self.kept <= 1:
            raise ValueError(f"inpaint.kept must lie in [0, 1]; got {self.kept:g}")
