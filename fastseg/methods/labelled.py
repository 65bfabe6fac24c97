"""What trainings on single labelled images share: their batches; and, where labels are maps, a network and its loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fastseg.data.augment import AugmentConfig
from fastseg.data.batches import Batch, Recipe, Scene, batches
from fastseg.frames import LabelledImages
from fastseg.methods import LoopConfig, RegulariserConfig, Start, TransferConfig, parse_size
from fastseg.tensors import Module, Tensor


class Ordered(Protocol):
    """The settings that decide what each step sees."""

    @property
    def size(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def augment(self) -> AugmentConfig: ...
    @property
    def loop(self) -> LoopConfig: ...


class Begun(Protocol):
    """The settings that decide what a network begins as."""

    @property
    def network(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def init_from(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def regulariser(self) -> RegulariserConfig: ...


class OnImages:
    """A training whose batches are labelled images and nothing beside them."""

    def batches(self: Ordered, examples: LabelledImages, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of steps start .. steps - 1: this rank's rows of each."""
        recipe = Recipe(parse_size(self.size), self.batch, self.seed, self.augment)
        return batches(examples, recipe, start, self.steps, self.loop.workers, rank=rank, world=world)


class OnLabelMaps(OnImages):
    """Such a training of a segmentation network, which a regulariser may take part in."""

    def build(self: Begun, classes: int) -> Start:
        """The network with one output for each class, and the regulariser's branch beside it."""
        return begin(self, classes)

    def loss(
        self: Begun, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """Softmax cross-entropy over the pixels with a label, and the regulariser's loss beside it."""
        from fastseg.methods.regulariser import regularised_loss

        return regularised_loss(net, images, labels, weight, self.regulariser)


def begin(method: Begun, classes: int, how: TransferConfig | None = None, network: str = "") -> Start:
    """The method's network as `fastseg.methods.start` begins it, with the regulariser's branch where there is one.

    network   its name, where that is not `method.network` alone
    """
    from fastseg.methods.regulariser import regularised
    from fastseg.methods.start import start

    begun = start(network or method.network, classes, method.seed, method.init_from, how)
    return regularised(begun, method.regulariser, classes, parse_size(method.size), method.seed)
