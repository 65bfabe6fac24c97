"""The work of an HN-label run on GPUs (`--device cuda`): cupy arrays, decoded on the processor, labelled in batches.

Nothing here falls back on the processor: a worker that cannot label on a GPU says why, and the run does not begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastseg.labels.hn import HNConfig
from fastseg.labels.hn_batch import Put
from fastseg.ops import arrays
from pipelines.hn_work import LabelBatch, SourceAt


def gpu_problem(put: Put = arrays.on_gpu) -> str | None:
    """One sentence why this process cannot label on a GPU, or None: cupy, a GPU and the CUDA kernels are there."""
    try:
        there = put(np.zeros((1, 1), np.uint16))
    except ImportError as error:
        return f"--device cuda needs cupy ({error}): install fastseg[gpu]"
    except Exception as error:  # cupy's own, of many kinds: no driver, no device, one that is in use by another
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return f"--device cuda finds no GPU that cupy can use ({line}); --device cpu labels on the processor"
    try:
        arrays.backend(there)
    except ImportError as error:
        return f"--device cuda: {error}"
    return None


@dataclass(frozen=True)
class LabelOnGpu(LabelBatch):
    """`LabelBatch` on the GPU that the worker owns a share of."""

    def problem(self) -> str | None:
        """Why this process cannot do the work, or None; asked in a worker before the first shard."""
        return gpu_problem(self.put)


def gpu_work(at: SourceAt, hn: HNConfig, batch: int, gpus_per_worker: float) -> LabelOnGpu:
    """The work of workers that own `gpus_per_worker` of a GPU each; ValueError for a share or a batch that cannot be.

    A share is for the scheduler alone: 0.25 lets four workers use one GPU in turn, whose memory they must fit.
    """
    if not (0 < gpus_per_worker <= 1 or (gpus_per_worker > 1 and gpus_per_worker == int(gpus_per_worker))):
        raise ValueError(f"gpus_per_worker must lie above 0 and up to 1, or be whole; got {gpus_per_worker:g}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1; got {batch}")
    return LabelOnGpu(at, hn, arrays.on_gpu, batch, gpus_per_worker)
