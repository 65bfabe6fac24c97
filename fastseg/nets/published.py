"""Published decoders (segmentation-models-pytorch) over timm's encoders."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn


def published(decoder: str, encoder: str, classes: int, output_stride: int = 0) -> nn.Module:
    """A segmentation-models-pytorch network without published weights: (N, 3, H, W) -> (N, classes, H, W).

    output_stride   8 or 16 for deeplabv3 and deeplabv3plus, 0 = the decoder's own default

    ValueError: an unknown decoder or encoder, or a pair that does not fit together.
    """
    import segmentation_models_pytorch as smp

    if decoder not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise ValueError(unknown("decoder", decoder, ["segnet", *smp.MODEL_ARCHITECTURES_MAPPING]))
    options: dict[str, Any] = {"encoder_output_stride": output_stride} if output_stride else {}
    try:
        net = smp.create_model(decoder, _encoder(encoder), encoder_weights=None, classes=classes, **options)
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, NotImplementedError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"decoder {decoder} does not go over encoder {encoder}: {cause}") from error
    assert isinstance(net, nn.Module)
    return net


def _encoder(name: str) -> str:
    """segmentation-models-pytorch's name of a timm encoder."""
    import timm

    if not timm.is_model(name):
        raise ValueError(unknown("encoder", name, timm.list_models()))
    return f"tu-{name}"


def unknown(what: str, name: str, names: list[str]) -> str:
    """The sentence for a name that is not known, with the nearest ones that are."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:12]
    return f"unknown {what} {name!r}; the nearest known: {', '.join(near)}"
