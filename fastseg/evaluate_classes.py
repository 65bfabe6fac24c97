"""Evaluate a network on the classes of whole images: what `fastseg evaluate --data imagefolder` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseg.checkpoint import Checkpoint
from fastseg.data.augment import Normalisation, resized
from fastseg.data.image_folder import ImageFolder
from fastseg.data.pssl_shards import UNUSED
from fastseg.inference import Views, check_labels_pixels, check_reads_images, restored
from fastseg.metrics import Counts
from fastseg.tensors import Module

if TYPE_CHECKING:
    from fastseg.evaluate import Evaluate

BEST = 5
NO_OBJECT = ("background", UNUSED)  # outputs that no image as a whole is of


def evaluate_classes(config: Evaluate, found: Checkpoint) -> int:
    """0; prints top-1 and top-5 of the images' classes and writes them as JSON where asked.

    ValueError: options that are about pixels, or a set with classes that the network does not know.
    """
    import torch

    from fastseg.evaluate import seen_size, write_scores
    from fastseg.loop import DTYPES, chosen_device, chosen_precision
    from fastseg.nets import CLASSIFY

    if config.views != Views() or config.classes or config.boundaries or config.instances:
        raise ValueError("--data imagefolder scores whole images: views, classes, boundaries, instances are for pixels")
    if found.record.network.partition("/")[0] != CLASSIFY:
        check_labels_pixels(found)
        check_reads_images(found)
    split = config.split or "val"
    examples = ImageFolder(config.root, split)
    columns, candidates = matched(found, examples)
    device = chosen_device(config.device)
    dtype = DTYPES.get(chosen_precision(config.precision, device))
    net, size = restored(found).to(device), seen_size(config, found)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        counts = ranked(net, examples, columns, candidates, size, found.record.normalisation, config.batch)
    top1, top5 = (float(each) / counts[2] for each in counts[:2])
    print(f"{found.path.name} on {split}, {counts[2]} images: top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} %")
    if config.json is not None:
        write_scores(config, found, {"top1": top1, "top5": top5}, split, int(counts[2]))
    return 0


def matched(found: Checkpoint, examples: ImageFolder) -> tuple[list[int], list[int]]:
    """The network's output of each of the set's classes, and all outputs that an image may be of."""
    names = list(found.record.classes)
    if lost := [name for name in examples.class_names if name not in names or name in NO_OBJECT]:
        raise ValueError(f"{found.path} knows {len(lost)} of {examples.root}'s classes not, {lost[0]!r} the first")
    return [names.index(name) for name in examples.class_names], [
        number for number, name in enumerate(names) if name not in NO_OBJECT
    ]


def ranked(
    net: Module, examples: ImageFolder, columns: list[int], candidates: list[int], size: tuple[int, int],
    normalisation: Normalisation, batch: int,
) -> Counts:  # fmt: skip
    """(3,) int64: images whose class scores highest, those where it is among the five highest, and all of them.

        s_c = mean over pixels of softmax(logits)_c,   c among `candidates`

    Of a network that names whole images the logits themselves are ranked.
    """
    import torch

    from fastseg.nets import logits

    net.eval()
    device, counts = next(net.parameters()).device, np.zeros(3, np.int64)
    allowed = torch.tensor(candidates, device=device)
    with torch.inference_mode():
        for first in range(0, len(examples), batch):
            pairs = [examples[index] for index in range(first, min(first + batch, len(examples)))]
            seen = torch.stack([resized(image, size) for image, _ in pairs]).to(device)
            found = logits(net, normalisation(seen)).float()
            scores = found if found.ndim == 2 else found.softmax(1).mean((2, 3))
            truth = torch.tensor([columns[int(label)] for _, label in pairs], device=device)[:, None]
            rank = (scores[:, allowed] > scores.gather(1, truth)).sum(1)
            counts += [int((rank < 1).sum()), int((rank < BEST).sum()), len(pairs)]
    return counts
