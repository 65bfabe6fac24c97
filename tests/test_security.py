"""P12: no file that is read costs more than it is, and nothing goes over the network unasked (S2, S4, S6)."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_MB = 200
READ = """
import json, sys
from pathlib import Path
from fastseg.weights import read_source
def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024
import torch, safetensors.torch
safetensors.torch.load(safetensors.torch.save({"a": torch.zeros(1)}))
before, said = peak_mb(), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        said[path.name] = sorted(read_source(str(path)).weights)
    except ValueError as error:
        said[path.name] = str(error)
print(json.dumps([peak_mb() - before, said]))
"""
# Writes down whom a process asks for by name and whom it connects to; as `sitecustomize` it is in every child too.
WATCH = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        found = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments
        with open(os.environ["WATCH_LOG"], "a") as log:
            log.write(f"{event} {found!r}\\n")
sys.addaudithook(note)
"""


def header(text: bytes, length: int | None = None) -> bytes:
    """A safetensors file: the length of its header, the header, no data."""
    return struct.pack("<Q", len(text) if length is None else length) + text


def tensor(shape: list[int], end: int, kind: str = "F32") -> bytes:
    return header(json.dumps({"w": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}).encode())


@pytest.mark.slow
@pytest.mark.torch
def test_weights_that_lie_about_their_size_are_refused_before_it_is_allocated(tmp_path: Path) -> None:
    """S4: headers of exabytes, tensors of terabytes, sizes that overflow, a file of 64 GiB of nothing."""
    bombs = {
        "header": header(b"{}", 2**62), "header_100_mb": header(b"{}", 10**8), "terabyte": tensor([2**40], 2**42),
        "overflow": tensor([2**62, 2**62], 16), "zeros": tensor([0, 2**63], 2**40), "nested": header(b"[" * 10**5),
        "short": b"\x08", "text": header(b"not json"), "kind": tensor([1], 4, "X99"), "backwards": tensor([1], -4),
    }  # fmt: skip
    for name, data in bombs.items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    for ending in ("pth", "pt"):
        (tmp_path / f"noise.{ending}").write_bytes(b"PK\3\4" + bytes(99))
    command = [sys.executable, "-c", READ, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    cost, said = json.loads(done.stdout.splitlines()[-1])
    assert cost <= MOST_MB and len(said) == len(bombs) + 2
    for name, text in said.items():
        assert isinstance(text, str) and text.startswith(f"cannot read weights from {tmp_path / name}: "), (name, text)
        assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.chaos)])
def test_a_run_its_check_and_its_page_ask_nobody_on_the_network(tmp_path: Path, workers: str) -> None:
    """S6: in every Python process of them, Ray's included, whatever is asked or connected to is this machine."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "log").touch()
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "rooms.json").write_text(json.dumps({"seed": 1, "count": 6, "height": 48, "width": 64}))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "WATCH_LOG": str(tmp_path / "log")}
    out = str(tmp_path / "out")
    label = ["pipelines.make_hn_labels", "--reader", "rooms", "--root", str(tmp_path / "rooms"), "--out", out]
    view = ["fastseg.view", out, "--html", str(tmp_path / "page.html")]
    for words in (
        [*label, "--workers", workers, "--tuning.max_reject", "1"],
        ["fastseg.verify", out, "--workers", "1"],
        view,
    ):
        subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=environment, check=True, timeout=200)
    import socket

    here = {"127.0.0.1", "::1", "localhost", "0.0.0.0", socket.gethostname(), *_own_addresses()}
    asked = (tmp_path / "log").read_text().splitlines()
    abroad = [line for line in asked if not any(f"'{name}'" in line for name in here) and "(None" not in line]
    assert [line for line in abroad if "'/" not in line] == []  # a path is a socket of this machine


def _own_addresses() -> set[str]:
    """This machine's own addresses, as Ray takes one of them for its node (asking none: a UDP socket sends nothing)."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return set(found)
