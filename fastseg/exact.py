"""Deterministic mode: the same bits from the same run, also on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it, cuBLAS may sum in another order from call to call


@contextmanager
def exact(wanted: bool) -> Iterator[None]:
    """A context in which torch takes deterministic algorithms alone, if wanted; afterwards all is as it was.

    ValueError: an operation of the network has none on this device.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    workspace = os.environ.get(WORKSPACE)
    os.environ[WORKSPACE] = workspace or ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise ValueError(f"loop.deterministic does not go with this network here: {_first_line(error)}") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        if workspace is None:
            del os.environ[WORKSPACE]


def _first_line(error: Exception) -> str:
    return str(error).partition(". ")[0].splitlines()[0]
