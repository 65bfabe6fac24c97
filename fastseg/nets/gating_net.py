"""Networks with depth-aware gating and recurrent refinement over any encoder, or over another network's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastseg.nets.features import Features, Network
from fastseg.nets.gating import Gating, GatingModule
from fastseg.nets.gating_depth import check_edges, default_edges, on_grid, quantised, unit

DROPOUT = 0.1
LEAST = 1e-12  # of a class's probability


@dataclass(frozen=True)
class Pass:
    """What one pass predicts, at the size of its features (a stride of 8 over an encoder).

    scores      (N, classes, h, w) logits
    gate        (N, B, h, w) float32, nearest bin first
    bins        (N, B, h, w) logits of the depth bins, None where nothing predicts them
    log_depth   (N, h, w) log of metres, None likewise
    last        (N, width, h, w) what the classifier reads, and the next pass too
    """

    scores: Tensor
    gate: Tensor
    bins: Tensor | None
    log_depth: Tensor | None
    last: Tensor


class Recurrent(nn.Module):
    """A pass that refines the one before it; the same parameters at every loop.

    [features, last] -> 3x3 2 width -> width, BN, ReLU -> gating -> 1x1 BN ReLU -> dropout -> 1x1 -> classes
    """

    def __init__(self, spec: Gating, classes: int) -> None:
        super().__init__()
        self.joined = nn.Sequential(*unit(2 * spec.width, spec.width, 3))
        self.gating = GatingModule(spec)
        self.mixed = nn.Sequential(*unit(spec.width, spec.width, 1))
        self.dropout, self.classifier = nn.Dropout(DROPOUT), nn.Conv2d(spec.width, classes, 1)

    def forward(self, x: Tensor, last: Tensor, bins: Tensor | None, edges: Tensor) -> Pass:
        found, gate, logits, log_depth = self.gating(self.joined(torch.cat([x, last], 1)), bins, edges)
        found = self.mixed(found)
        return Pass(self.classifier(self.dropout(found)), gate, logits, log_depth, found)


class GatedNet(Network):
    """Logits (N, classes, H, W) of images (N, 3, H, W): log of softmax scores, upsampled bilinearly.

    encoder, decoder   what gives the features (decoder None: the encoder's last map); 3x3 -> width brings them here
    after              what a decoder has between its pooling, whose place the gates take, and its classifier
    step               what the images' sides must be multiples of; they are padded by their edge
    loops              recurrent passes in evaluation, as many as wished: parameters are shared
    edges              of the depth bins in metres; they travel with the weights
    """

    classifiers: ClassVar[tuple[str, ...]] = ("classifier.", "recurrent.classifier.")

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module | None, width: int, step: int, spec: Gating, classes: int,
        after: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec, self.step, self.loops, self.resting = spec, step, spec.loops, False
        self.encoder, self.decoder = encoder, decoder
        self.reduced = nn.Sequential(*unit(width, spec.width, 3))
        self.gating, self.after = GatingModule(spec), after
        self.dropout, self.classifier = nn.Dropout(DROPOUT), nn.Conv2d(spec.width, classes, 1)
        self.recurrent = Recurrent(spec, classes) if spec.loops else None
        self.register_buffer("edges", torch.tensor(default_edges(len(spec.dilations))))
        self.edges: Tensor

    @property
    def measures(self) -> bool:
        """Whether its gates are measured depth, which every image then needs."""
        return self.spec.source == "ground_truth"

    def set_edges(self, edges: tuple[float, ...]) -> None:
        """None; the depth bins have these edges. ValueError where they do not increase, or are not as many."""
        self.edges.copy_(torch.tensor(check_edges(edges, len(self.spec.dilations))))

    def set_loops(self, loops: int) -> None:
        """None; evaluation makes so many recurrent passes. ValueError: none, or there is no recurrent module."""
        if self.recurrent is None:
            raise ValueError("this network has no recurrent module: its name gives no loops")
        self.loops = _checked_loops(loops)

    def rest_statistics(self) -> None:
        """None; the encoder's batch statistics stay what they are, in training too."""
        self.resting = True
        self.train(self.training)

    def train(self, mode: bool = True) -> GatedNet:
        super().train(mode)
        if self.resting:
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def stages(self) -> list[list[nn.Module]]:
        """The encoder's convolution blocks from the image on."""
        from fastseg.nets import encoder_blocks

        return encoder_blocks(self.encoder)

    def every(self, images: Tensor, depth: Tensor | None = None, loops: int | None = None) -> list[Pass]:
        """The first pass and those of the loops, each a prediction.

        images   (N, 3, H, W) normalised
        depth    (N, H, W) metres, 0 = no measurement; gates of ground truth need it
        loops    recurrent passes, None = the network's own

        ValueError: no depth where it is needed, depth of another size or type, loops < 1.
        """
        return self._passes(images, depth, loops)[1]

    def anytime(self, images: Tensor, depth: Tensor | None = None, loops: int | None = None) -> Iterator[Pass]:
        """The passes of `every`, each as soon as it is made: who has no more time takes the last one that came."""
        count = self._count(loops)
        _, x, bins = self._begun(images, depth)
        found = self._first(x, bins)
        yield found
        for _ in range(count):
            found = self._again(x, found, bins)
            yield found

    def _passes(self, images: Tensor, depth: Tensor | None, loops: int | None) -> tuple[list[Tensor], list[Pass]]:
        count = self._count(loops)
        maps, x, bins = self._begun(images, depth)
        passes = [self._first(x, bins)]
        for _ in range(count):
            passes.append(self._again(x, passes[-1], bins))
        return maps, passes

    def _count(self, loops: int | None) -> int:
        if loops is not None and self.recurrent is None:
            raise ValueError("this network has no recurrent module: its name gives no loops")
        return self.loops if loops is None else _checked_loops(loops)

    def _begun(self, images: Tensor, depth: Tensor | None) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """What all passes read: the encoder's maps, the features, and where gates are measured the depth bins."""
        maps, found = self._trunk(images)
        x = self.reduced(found)
        return maps, x, None if depth is None or not self.measures else self.bins(depth, images, x)

    def _first(self, x: Tensor, bins: Tensor | None) -> Pass:
        y, gate, logits, log_depth = self.gating(x, bins, self.edges)
        y = y if self.after is None else self.after(y)
        return Pass(self.classifier(self.dropout(y)), gate, logits, log_depth, y)

    def _again(self, x: Tensor, before: Pass, bins: Tensor | None) -> Pass:
        assert self.recurrent is not None, "loops need the recurrent module"
        found: Pass = self.recurrent(x, before.last, bins, self.edges)
        return found

    def _trunk(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        found = self.encoder(self._padded(images, "replicate"))
        # DPT's encoder gives its class tokens beside the feature maps, and its decoder takes both.
        maps, parts = (found[0], found) if isinstance(found, tuple) else (found, (found,))
        coarser = [each for each in maps if each.shape[1:] != images.shape[1:]]
        return coarser, maps[-1] if self.decoder is None else self.decoder(*parts)

    def _padded(self, images: Tensor, mode: str) -> Tensor:
        padding = (0, -images.shape[-1] % self.step, 0, -images.shape[-2] % self.step)
        return functional.pad(images, padding, mode=mode) if any(padding) else images

    def bins(self, depth: Tensor, images: Tensor, like: Tensor) -> Tensor:
        """The depth bins (N, h, w) uint8 of depth (N, H, W) metres on the grid of a feature map, 255 = none."""
        wanted = (len(images), *images.shape[2:])
        if depth.shape != wanted or not depth.is_floating_point():
            raise ValueError(
                f"depth must be float metres {wanted}, as the images; got {depth.dtype} {tuple(depth.shape)}"
            )
        return quantised(self.grid_depth(depth, like), self.edges)

    def grid_depth(self, depth: Tensor, like: Tensor) -> Tensor:
        """Depth (N, H, W) on the grid of a feature map (N, C, h, w)."""
        return on_grid(self._padded(depth, "constant"), (like.shape[-2], like.shape[-1]))

    def shown(self, found: Pass, images: Tensor) -> Tensor:
        """A pass's logits at the images' size: log of the softmax scores, upsampled bilinearly."""
        size = [side + -side % self.step for side in images.shape[-2:]]
        scores = found.scores.float().softmax(1)
        grown = functional.interpolate(scores, size, mode="bilinear", align_corners=False)
        return grown[..., : images.shape[-2], : images.shape[-1]].clamp_min(LEAST).log()

    def features(self, images: Tensor, depth: Tensor | None = None) -> Features:
        maps, passes = self._passes(images, depth, None)
        return Features(tuple(maps), passes[-1].last, self.shown(passes[-1], images))

    def forward(self, images: Tensor, depth: Tensor | None = None) -> Tensor:
        return self.features(images, depth).logits


def _checked_loops(loops: int) -> int:
    if loops < 1:
        raise ValueError(f"a network with a recurrent module makes at least 1 loop; got {loops}")
    return loops
