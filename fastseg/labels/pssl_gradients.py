"""SmoothGrad of one classifier: gradients of the input alone, many noisy copies of many images in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fastseg.labels.pssl_member import Member

Target = Literal["probability", "logit", "loss"]
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Smoothed(NamedTuple):
    """Of each image: maps (B, size, size) float32 summed over its copies; what the copies were taken for.

    probability   (B,) float32, of the image's class, summed over the copies
    right         (B,) float32, copies whose greatest logit is the class's
    """

    maps: Tensor
    probability: Tensor
    right: Tensor


class Smoother:
    """The sums behind one prepared member's SmoothGrad maps.

    S(x) = sum_k sum_c |d f_y / d x_c (x + s n_k)|,   s = sigma (max x - min x),  n_k standard normal

    x is the normalised input. n_k follows from (seed, image's name, member's name, k) alone. f_y is the class's
    probability, its logit, or the cross-entropy. Smilkov et al., 2017; PSSL paper, section 3.

    Every pass has the same number of copies, the last one filled up, so that a map does not depend on which other
    images are asked for with it: on one device and one thread the bits are the same as long as the batch is. A smaller
    batch (less memory) and another device change the last bits of float32.

    memory_mb, most   a pass takes at most so much memory, as far as that can be foreseen, and so many copies; `batch`,
                      what follows from them, is halved when memory does not suffice
    """

    def __init__(
        self, member: Member, sigma: float, target: Target, seed: int, memory_mb: int, most: int, compiled: bool = False
    ) -> None:
        self.member, self._sigma, self._target, self._seed = member, sigma, target, seed
        weights = next(member.net.parameters())
        self._device, self._dtype = weights.device, weights.dtype
        self._generator = torch.Generator(self._device)
        self.batch = max(1, min(most, (memory_mb << 20) // max(1, self._bytes_of_a_pass())))
        self._net = torch.compile(member.net, dynamic=False) if compiled else member.net

    def sums(self, images: Tensor, classes: Sequence[int], names: Sequence[str], copies: range) -> Smoothed:
        """What the copies of those numbers give for pictures (B, 3, H, W) uint8 on the member's device.

        MemoryError: not even one copy fits.
        """
        while True:
            try:
                return self._sums(self.member.inputs(images), classes, names, copies)
            except (RuntimeError, MemoryError) as error:
                if not is_memory(error):
                    raise
                self._halve()

    def _halve(self) -> None:
        if self.batch == 1:
            raise MemoryError(too_large(self.member, self._device))
        self.batch //= 2

    def _sums(self, inputs: Tensor, classes: Sequence[int], names: Sequence[str], copies: range) -> Smoothed:
        count, size = len(inputs), self.member.size
        batch = evenly(self.batch, len(copies))
        spread = self._sigma * (inputs.amax((1, 2, 3)) - inputs.amin((1, 2, 3)))
        outputs = torch.tensor([self.member.output(number) for number in classes], device=self._device)
        maps = torch.empty(count * len(copies), size, size, device=self._device)
        probability, right = torch.empty(2, len(maps), device=self._device)
        first = 0
        for some in passes(count, copies, batch):
            padded = some + some[-1:] * (batch - len(some))
            which = torch.tensor([image for image, _ in padded], device=self._device)
            noisy = inputs[which] + spread[which, None, None, None] * self._noise(padded, names)
            found = self._gradients(noisy, outputs[which])
            for kept, new in zip((maps, probability, right), found, strict=True):
                kept[first : first + len(some)] = new[: len(some)]
            first += len(some)
        each = (count, len(copies))
        figures = (found.reshape(each).sum(1) for found in (probability, right))
        return Smoothed(maps.reshape(*each, size, size).sum(1), *figures)

    def _noise(self, pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> Tensor:
        """Standard normal numbers (N, 3, size, size), each copy's from a seed of its own."""
        noise = torch.empty(len(pairs), 3, self.member.size, self.member.size, device=self._device)
        for place, (image, copy) in enumerate(pairs):
            self._generator.manual_seed(noise_seed(self._seed, names[image], self.member.name, copy))
            torch.randn(noise.shape[1:], generator=self._generator, out=noise[place])
        return noise

    def _gradients(self, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """|d f / d input| summed over channels (N, size, size), the class's probability (N,), whether it is first."""
        given = inputs.to(self._dtype, memory_format=torch.channels_last).requires_grad_()
        logits = self._net(given)
        with torch.no_grad():
            probabilities = logits.float().softmax(1)
            towards = seeds(probabilities, outputs, self._target)
            right = (logits.argmax(1) == outputs).float()
        (gradient,) = torch.autograd.grad(logits, given, towards.to(logits.dtype))
        own = probabilities.gather(1, outputs[:, None])[:, 0]
        return gradient.float().abs().sum(1), own, right

    def _bytes_of_a_pass(self) -> int:
        """What one copy's pass keeps for its way back, in bytes, twice: the gradients need about as much again."""
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        side = self.member.size
        image = torch.zeros(1, 3, side, side, device=self._device, dtype=self._dtype, requires_grad=True)
        fixed = {parameter.data_ptr() for parameter in self.member.net.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = self.member.net(image.contiguous(memory_format=torch.channels_last))
        if logits.ndim != 2:
            raise ValueError(f"{self.member.name} must give logits (N, classes); got {tuple(logits.shape)}")
        return 2 * sum(size for place, size in kept.items() if place not in fixed)


def evenly(batch: int, copies: int) -> int:
    """The copies a pass, at most `batch`, that fill all passes best: whole images, or equal parts of one."""
    return batch // copies * copies or -(-copies // -(-copies // batch))


def passes(images: int, copies: range, batch: int) -> Iterator[list[tuple[int, int]]]:
    """(image, copy) of each pass, in order: as many whole images as fit, or parts of one."""
    step = max(1, batch // len(copies))
    for start in range(0, images, step):
        pairs = [(image, copy) for image in range(start, min(start + step, images)) for copy in copies]
        for first in range(0, len(pairs), batch):
            yield pairs[first : first + batch]


def seeds(probabilities: Tensor, outputs: Tensor, target: Target) -> Tensor:
    """The gradient (N, classes) of the target with respect to the logits, without cancellation.

    probability   p_y (e_y - p)      logit   e_y      loss   p - e_y

    1 - p_y is the sum of the others: for a classifier that is sure, float32 has no digits left of the difference.
    """
    one = torch.zeros_like(probabilities).scatter_(1, outputs[:, None], 1.0)
    if target == "logit":
        return one
    others = probabilities * (1 - one)
    away = one * others.sum(1, keepdim=True) - others
    return away * probabilities.gather(1, outputs[:, None]) if target == "probability" else -away


def noise_seed(seed: int, image: str, member: str, copy: int) -> int:
    """The seed of one copy's noise, 63 bits."""
    key = f"{seed}\0{image}\0{member}\0{copy}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def is_memory(error: BaseException) -> bool:
    """Whether it says that memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in NO_MEMORY)


def too_large(member: Member, device: torch.device) -> str:
    """The sentence for a classifier that does not fit."""
    where = f"{member.name}: one pass at {member.size}x{member.size} does not fit the memory of {device}"
    return f"{where}; leave the classifier out, or give it a smaller input"
