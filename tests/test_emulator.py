"""The emulator runs right kernels rightly, catches each mistake it is there for, and then runs every op's tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROLOGUE = """
import numpy as np
import fastseg._emu as emu
from fastseg.ops.arrays import describe
x = np.random.default_rng(0).integers(-50, 50, 150).astype(np.float32)
expected = np.add.reduceat(x, [0, 64, 128])
def run(check, schedule="forward", seed=0):
    emu.set_schedule(schedule, seed)
    out = np.zeros(3, np.float32)
    getattr(emu, "check_" + check)(describe(x), describe(out))
    return out
def message(check):
    try:
        run(check)
    except RuntimeError as error:
        return str(error)
    raise SystemExit(check + " was not caught")
"""


def _sanitizers() -> str:
    compiler = shutil.which("gcc")
    if compiler is None or importlib.util.find_spec("fastseg._emu") is None:
        pytest.skip("fastseg._emu is not built: pip install -e . -Ccmake.define.FASTSEG_EMULATOR=ON")
    paths = [
        subprocess.run([compiler, f"-print-file-name={lib}"], check=True, capture_output=True, text=True).stdout.strip()
        for lib in ("libasan.so", "libubsan.so")
    ]
    return " ".join(paths)


def _python(*arguments: str, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    """Python with the sanitizers loaded first, as an extension that was compiled with them needs."""
    environment = os.environ | {"LD_PRELOAD": _sanitizers(), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def _passes(body: str) -> None:
    done = _python("-c", PROLOGUE + body)
    assert done.returncode == 0, done.stderr[-3000:]


def test_right_kernels_give_the_same_sums_in_every_schedule() -> None:
    _passes("""
for schedule in ("forward", "reverse", "random"):
    for check in ("block_sum", "warp_sum"):
        for seed in range(5):
            assert (run(check, schedule, seed) == expected).all(), (check, schedule, seed)
""")


def test_a_missing_barrier_shows_as_poison_or_another_sum() -> None:
    _passes("""
assert np.isnan(run("missing_barrier", "forward")).all()
assert any(not np.array_equal(run("missing_barrier", "random", seed), expected) for seed in range(5))
""")


def test_a_divergent_barrier_is_reported_with_its_line() -> None:
    _passes("""
text = message("divergent_barrier")
assert "of 64 threads 24 have exited, 40 wait for a barrier at " in text and "emulator_check.cu:" in text, text
text = message("divergent_warp")
assert "32 wait for a warp primitive at " in text and "emulator_check.cu:" in text, text
assert (run("block_sum") == expected).all(), "the emulator must work after an abandoned launch"
""")


def test_an_index_outside_a_view_names_the_thread() -> None:
    _passes("""
assert message("index") == "thread (0, 0, 0) of block (0, 0, 0): index 150 of axis 0 leaves its length 150"
""")


@pytest.mark.parametrize("check", ["tile_overrun", "array_overrun"])
def test_an_overrun_stops_the_process_with_a_sanitizer_report(check: str) -> None:
    done = _python("-c", PROLOGUE + f"run({check!r})")
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr and f"in {check}" in done.stderr, done.stderr[-3000:]


def test_wrong_arguments_are_refused_again_in_cpp() -> None:
    _passes("""
out = np.zeros(3, np.float32)
for bad in (np.zeros(150), np.zeros((150, 1), np.float32)):
    try:
        emu.check_block_sum(describe(bad), describe(out))
    except ValueError as error:
        assert "x " in str(error)
    else:
        raise SystemExit("not refused")
try:
    emu.check_block_sum((1, "float32", True, (150,)), describe(out))
except ValueError as error:
    assert "must lie in host memory" in str(error)
else:
    raise SystemExit("not refused")
""")


def test_an_index_beyond_two_to_the_31_reaches_its_own_element(tmp_path: Path) -> None:
    _passes(f"""
shape = (3, 40000, 20000)  # 2.4e9 elements in a file with holes: only the pages touched exist
x = np.memmap({str(tmp_path / "far")!r}, np.uint8, "w+", shape=shape)
at = np.array([[0, 0, 0], [2, 39999, 19999], [2, 27374, 3647], [2, 27374, 3648], [1, 39999, 19999], [2, 0, 0]])
emu.check_far_index(describe(x), describe(at))
assert [int(x[tuple(i)]) for i in at] == [1, 2, 3, 4, 5, 6]
flat = np.ravel_multi_index(at.T, shape)
assert flat[2] == 2**31 - 1 and flat[3] == 2**31
around = np.concatenate([flat[:, None] + np.arange(-40, 41)]).ravel() % x.size
assert int(x.reshape(-1)[np.unique(around)].sum()) == 21, "something else was written near by"
""")


def test_small_linear_algebra_agrees_with_numpy() -> None:
    _passes("""
random = np.random.default_rng(0)
m = random.normal(size=(900, 3, 3)).astype(np.float32)
m[:200, 2] *= 1e-3                                    # nearly flat
m[200:300, 2] = 0                                     # flat
m[300:400] = np.eye(3) * random.normal(size=(100, 1, 1))  # three equal eigenvalues, reflections
m[400:500] *= 1e-6
m[500] = 0
value, vector, smallest, rotation = (np.full((900, *s), np.nan, np.float32) for s in ((3,), (3, 3), (3,), (3, 3)))
emu.check_linear_algebra(*map(describe, (m, value, vector, smallest, rotation)))
x = m.astype(np.float64)
s = x.transpose(0, 2, 1) @ x
exact = np.linalg.eigvalsh(s)
scale = exact[:, 2:] + 1e-30
close = lambda a, b, tolerance: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
close(value / scale, exact / scale, 3e-6)  # float32: 2^-24 times the rounding of some 30 operations
close(vector @ vector.transpose(0, 2, 1), np.broadcast_to(np.eye(3), m.shape), 3e-6)
close((vector @ s - exact[:, :, None] * vector) / scale[:, :, None], 0, 3e-6)
close((np.einsum("nij,nj->ni", s, smallest) - exact[:, :1] * smallest) / scale, 0, 3e-6)
close(np.linalg.norm(smallest, axis=1), 1, 1e-6)
u, d, v = np.linalg.svd(x)
best = d[:, 0] + d[:, 1] + np.linalg.det(u @ v) * d[:, 2]  # the largest trace(R^T m) of any rotation R
close((best - np.einsum("nij,nij->n", rotation, x)) / (d.sum(1) + 1e-30), 0, 1e-5)
close(np.linalg.det(rotation), 1, 1e-5)
""")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_op_passes_its_tests_on_the_emulated_kernels() -> None:
    done = _python("-m", "pytest", "tests/ops", "--emulator", "-m", "not torch", "-q", "-x", "-n", "0", timeout=880)
    no_tests_yet = 5
    assert done.returncode in (0, no_tests_yet), done.stdout[-6000:] + done.stderr[-6000:]
