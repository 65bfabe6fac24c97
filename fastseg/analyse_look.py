"""A network of an analysis looking at one image: its classes, its depth, where a layer speaks for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import resized
from fastseg.frames import LabelledImages
from fastseg.inference_depth import depth_alone, depth_limits, depths, predicts_depth
from fastseg.pictures import Picture, heat_picture, overlay
from fastseg.tensors import Tensor

Gates = list[Tensor] | None  # the depth of the image, for a network whose gates it is


class Look:
    """A checkpoint's network, which sees images at its training size."""

    def __init__(self, found: Checkpoint, device: str) -> None:
        from fastseg.inference import restored
        from fastseg.loop import chosen_device

        self.found = depth_alone(found) if predicts_depth(found) else found
        self._record, self._net = found.record, restored(self.found).to(chosen_device(device))

    def gates(self, examples: LabelledImages, index: int) -> Gates:
        """The depth of an image of the set, where the network needs it; ValueError when the set has none."""
        from fastseg.inference import depths_of

        return depths_of(self._net, examples, [index], self._record.size)

    def classes(self, image: Picture, gates: Gates) -> npt.NDArray[np.int64]:
        """The classes (H, W) of an image (H, W, 3)."""
        from fastseg.inference import predictions

        seen, shape = [resized(image, self._record.size)], [image.shape[:2]]
        (found,) = predictions(self._net, seen, shape, self._record.normalisation, depths=gates)
        return np.asarray(found.cpu().numpy())

    def depth(self, image: Picture) -> npt.NDArray[np.float32]:
        """The depth (H, W) float32 metres that a depth network sees in an image (H, W, 3)."""
        seen, shape = [resized(image, self._record.size)], [image.shape[:2]]
        (found,) = depths(self._net, seen, shape, self._record.normalisation, depth_limits(self.found))
        return np.asarray(found.cpu().numpy())

    def heat(self, image: Picture, layer: str, gates: Gates) -> Picture:
        """Grad-CAM of a layer over the grey of the image, its greatest value the lightest."""
        import torch
        from torch.nn import functional

        from fastseg.gradcam import gradcam, layer_of

        device: Any = next(self._net.parameters()).device
        seen = self._record.normalisation(resized(image, self._record.size)[None].to(device))
        depth = None if gates is None else torch.stack(gates).to(device)
        found = gradcam(self._net, seen, layer_of(self._net, layer), depth)[None]
        grown = functional.interpolate(found, list(image.shape[:2]), mode="bilinear", align_corners=False)[0, 0]
        values = grown.cpu().numpy()
        return overlay(image, heat_picture(values / max(float(values.max()), 1e-30)), 0.65)
