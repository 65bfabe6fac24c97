"""What augmentation does to colour alone: brightness, contrast, saturation, hue, blur; torchvision's, on uint8."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastseg.tensors import Tensor


def jittered(image: Tensor, factors: Sequence[float], hue: float) -> Tensor:
    """(3, H, W) uint8 with brightness, contrast and saturation times `factors`, in this order, then the hue turned.

    hue     in turns of the colour circle, -0.5 to 0.5; 0 leaves it alone
    """
    from torchvision.transforms.v2 import functional

    image = functional.adjust_brightness(image, factors[0])
    image = functional.adjust_contrast(image, factors[1])
    image = functional.adjust_saturation(image, factors[2])
    return functional.adjust_hue(image, hue) if hue else image


def blurred(image: Tensor, sigma: float) -> Tensor:
    """(3, H, W) uint8 under a Gaussian of `sigma` pixels, cut at three sigma: along the rows, then the columns."""
    import torch
    from torchvision.transforms.v2 import functional

    reach = min(math.ceil(3 * sigma), *(side - 1 for side in image.shape[1:]))
    if reach < 1:
        return image
    width, values = 2 * reach + 1, image.to(torch.float32)
    values = functional.gaussian_blur(values, [width, 1], [sigma, sigma])
    values = functional.gaussian_blur(values, [1, width], [sigma, sigma])
    rounded: Tensor = values.round().to(torch.uint8)
    return rounded
