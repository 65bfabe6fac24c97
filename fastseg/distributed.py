"""Several processes that train one network: who they are, what they add up, and that they stop and skip together.

The processes are started by torchrun (or Ray Train); each computes its share of every batch and the gradients are
added up over all. They are added after the backward pass and not by torch's DistributedDataParallel: methods see the
network itself, not a wrapper, gradients are exchanged once a step however many parts it has, and a parameter that a
step does not reach needs no special case. The price is that the exchange does not overlap the backward pass.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn

TIMEOUT_S = 600.0
BUCKET = 1 << 23  # numbers exchanged at a time: 32 MB of float32
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
CLOSED = ("connection closed", "connection reset", "timed out", "timeout", "broken pipe", "gloo", "nccl")


class RankLostError(OSError):
    """Another process of the run ended or fell silent; this one cannot go on alone."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = errno.EIO


@dataclass(frozen=True)
class Group:
    """The processes of a run as one of them sees it: it is number `rank` of `world` and computes on `device`.

    Every method must be called by all of them, in the same order. RankLostError when one does not come.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether it is this process that writes and prints."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of `value` over the processes, the same bits in each."""
        if self.world == 1:
            return value
        summed = value.detach().clone()
        dist.all_reduce(summed)
        return summed

    def total_counts(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The sum of an int64 array over the processes."""
        if self.world == 1:
            return counts
        return self.total(torch.from_numpy(counts).to(self.device)).cpu().numpy()

    def largest(self, value: int) -> int:
        """The largest `value` of any process."""
        if self.world == 1:
            return value
        found = torch.tensor(value, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def everyones(self, value: Any) -> list[Any]:
        """The `value` of every process, by rank; small and plain values."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """None, once every process is here."""
        self.largest(0)

    def sum_gradients(self, net: nn.Module) -> None:
        """None; each gradient is now the sum over the processes."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        sent = [(bucket, torch.cat([gradient.reshape(-1) for gradient in bucket])) for bucket in _buckets(gradients)]
        works = [dist.all_reduce(flat, async_op=True) for _, flat in sent]
        for (bucket, flat), work in zip(sent, works, strict=True):
            assert work is not None, "this process is of the group"
            work.wait()
            for gradient, summed in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
                gradient.copy_(summed.view(gradient.shape))

    def share(self, count: int) -> tuple[int, ...]:
        """The indices below `count` that this process looks at where each is looked at once."""
        return tuple(range(self.rank, count, self.world))

    def check_batch(self, batch: int, parts: int = 1) -> None:
        """None; ValueError: the processes cannot share a batch evenly, or in `parts` each."""
        if batch < parts * self.world:
            raise ValueError(f"--batch {batch} is less than {self.world} processes times optim.accumulate {parts}")
        if batch % self.world:
            raise ValueError(f"--batch {batch} cannot be shared evenly by {self.world} processes")

    def check_same(self, what: Mapping[str, Any]) -> None:
        """None; ValueError naming what is not the same in every process."""
        for name, values in ((name, self.everyones(value)) for name, value in what.items()):
            if any(value != values[0] for value in values):
                raise ValueError(f"the {self.world} processes do not begin alike: they differ in {name}; {SHARED}")


SHARED = "each needs the same command, and `--root` and `--out` must lie where every machine sees them"


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in order, in runs of one dtype and about BUCKET numbers."""
    ends = np.cumsum([gradient.numel() for gradient in gradients])
    for _, run in groupby(zip(gradients, ends, strict=True), lambda pair: (pair[0].dtype, int(pair[1]) // BUCKET)):
        yield [gradient for gradient, _ in run]


def digest(net: nn.Module) -> str:
    """The SHA-256 (hex) of a network's weights and statistics."""
    found = hashlib.sha256()
    for name, value in net.state_dict().items():
        found.update(name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@contextmanager
def process_group(device: torch.device, timeout_s: float | None = None) -> Iterator[Group]:
    """The group that this process is one of, in the block; of itself alone when torchrun did not start it.

    Rank and world come from the environment (torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or
    from a process group that is there already. gloo on the CPU; NCCL on CUDA, GPU number LOCAL_RANK for each.
    Only rank 0 prints to stdout in the block. One that does not answer for `timeout_s` (TIMEOUT_S) counts as lost.

    ValueError: no GPU for each process, or no meeting with the others. RankLostError: one was lost.
    """
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Group(device)
        return
    ours = not dist.is_initialized()
    if ours:
        device = own_device(device)
        _join(device, TIMEOUT_S if timeout_s is None else timeout_s)
    elif device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    try:
        group = Group(device, dist.get_rank(), dist.get_world_size())
        with _quiet(not group.first):
            yield group
    except RuntimeError as error:
        if any(word in str(error).lower() for word in CLOSED):
            raise RankLostError(f"another process of the run ended or fell silent ({_line(error)})") from error
        raise
    finally:
        if ours:
            dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The device of this process among those of its machine. ValueError: one GPU named for all, or too few."""
    if device.type != "cuda":
        return device
    if device.index is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"loop.device {device} is one GPU; several processes take --loop.device cuda, a GPU for each")
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise ValueError(f"process {number} of this machine has no GPU: torch sees {there}; one process a GPU")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _join(device: torch.device, timeout_s: float) -> None:
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise ValueError(f"WORLD_SIZE is set but {missing[0]} is not: several processes are started by torchrun")
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    except RuntimeError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ValueError(f"the processes of the run did not meet at {address}: {_line(error)}") from error


@contextmanager
def _quiet(silent: bool) -> Iterator[None]:
    if not silent:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
