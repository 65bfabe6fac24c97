"""What every test can ask for: real data or a skip, a device to run on, memory that was never zero."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastseg.ops import arrays

ROOT = Path(__file__).parent.parent
SANITIZED = ("emu-forward", "emu-reverse", "emu-random", "san")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--emulator", action="store_true", help="the `device` tests alone, on what is built with sanitizers"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        emulator = metafunc.config.getoption("--emulator")
        metafunc.parametrize("device", SANITIZED if emulator else ["cpu", *_gpu()], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--emulator"):
        items[:] = [item for item in items if "device" in getattr(item, "fixturenames", ())]


def _gpu() -> list[str]:
    try:
        return ["cuda"] if importlib.import_module(arrays.CUDA_MODULE).device_count() > 0 else []
    except ImportError:
        return []


@pytest.fixture
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`"cpu"`, `"cuda"` (when there is one) or, under --emulator, `"emu"`: the CUDA kernels on the CPU.

    Under --emulator `"cpu"` is the CPU's kernels built with the sanitizers.
    """
    name = str(request.param)
    if name == "san":
        monkeypatch.setattr(arrays, "CPU_MODULE", "fastseg._san")
        monkeypatch.setattr(arrays, "KEPT_BYTES", 0)  # memory of its own for each call, so that an overrun is seen
        return "cpu"
    if not name.startswith("emu"):
        return name
    monkeypatch.setattr(arrays, "CPU_MODULE", "fastseg._emu")
    importlib.import_module("fastseg._emu").set_schedule(name.removeprefix("emu-"), seed=7)
    return "emu"


@pytest.fixture
def put(device: str) -> Callable[[Any], Any]:
    """Moves a numpy array to the device under test: itself on the CPU, a cupy array or torch tensor on the GPU."""
    if device != "cuda":
        return lambda array: array
    try:
        return importlib.import_module("cupy").asarray  # type: ignore[no-any-return]
    except ImportError:
        torch = importlib.import_module("torch")
        return lambda array: torch.from_numpy(np.ascontiguousarray(array)).cuda()


@pytest.fixture
def get() -> Callable[[Any], Any]:
    """Brings an array of any library back as a numpy array."""

    def fetch(array: Any) -> Any:
        kind = arrays.library("array", array)
        if kind == "torch":
            return array.detach().cpu().numpy()
        return array.get() if kind == "cupy" else array

    return fetch


@pytest.fixture(autouse=True)
def filled_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an op allocates starts as NaN (91 for integers), so that an element it forgets to write is seen."""
    allocate = arrays._allocate

    def filled(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
        array = allocate(like, shape, dtype)
        array[...] = float("nan") if "float" in dtype else 91
        return array

    monkeypatch.setattr(arrays, "_allocate", filled)
    yield


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets: FASTSEG_TEST_DATA, or ../shared/data beside the checkout; else a skip."""
    path = Path(os.environ.get("FASTSEG_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data sets at {path}; set FASTSEG_TEST_DATA")
    return path
