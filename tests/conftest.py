"""What every test can ask for: real data or a skip, a device to run on, memory that was never zero."""

from __future__ import annotations

import importlib
import importlib.util
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
    """A file's tests share a process (-n 2); those that start a Ray share one and come last.

    The threads of a Ray make the data workers that training forks crash. The emulator's long run comes before them, so
    that another process has it meanwhile.
    """
    if config.getoption("--emulator"):
        items[:] = [item for item in items if "device" in getattr(item, "fixturenames", ())]
    items.sort(key=lambda item: 2 if _starts_ray(item) else item.path.name == "test_emulator.py")
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if _starts_ray(item) else str(item.path)))


def _starts_ray(item: pytest.Item) -> bool:
    return "pipelines" in item.path.parts or item.name.startswith("test_ray_")


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


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of an empty bucket on a server that lives as long as the tests; the environment leads there."""
    for name in ("s3fs", "moto", "flask"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; pip install 'fastseg[test]' brings it")
    from moto.server import ThreadedMotoServer
    from upath import UPath

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (keys | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(key, value)
        UPath("s3://fastseg-test").fs.mkdir("s3://fastseg-test")
        yield "s3://fastseg-test"
    server.stop()
