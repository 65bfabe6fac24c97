"""Training under SIGTERM, SIGKILL, a full disk and numbers that are none."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fastseg import checkpoint
from fastseg.checkpoint import load
from fastseg.cli import run
from fastseg.data.batches import Batch, Scene
from fastseg.frames import LabelledImages
from fastseg.methods import OptimConfig
from fastseg.methods.segment import Segment
from fastseg.tensors import Module, Tensor
from fastseg.train import fit
from tests.conftest import ROOT
from tests.squares import LOOP, Squares, digest, lines, run_of

pytestmark = pytest.mark.torch
STEPS = 8
EVERYTHING = OptimConfig(
    lr=0.01, schedule="step", step_at=(3, 6), warmup=3, accumulate=2, ema=0.9, layer_decay=0.7, class_weights="median"
)


def stopping(at: int) -> type[Segment]:
    """Segment that tells its own process to stop while the batch of step `at` is awaited."""

    class Stopping(Segment):
        def batches(self, examples: LabelledImages, start: int, *share: int) -> Iterator[Batch]:
            for batch in super().batches(examples, start, *share):
                if batch.step == at:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    return Stopping


def _stopped_and_resumed(root: Path, seed: int, at: int, workers: int) -> None:
    """Assert that a run stopped at a step goes on to the very bits of the run that was not."""
    optim = replace(EVERYTHING, optimizer="adamw" if seed % 2 else "sgd")
    fixed = {
        "network": "fpn/mobilenetv3_small_050",
        "steps": STEPS,
        "batch": 4,
        "seed": seed,
        "optim": optim,
    }  # it has dropout
    whole, parts = root / f"whole-{seed}", root / f"parts-{seed}-{workers}"
    if not whole.exists():
        assert fit(run_of(whole, **fixed), Squares()) == 0
    fixed["loop"] = replace(LOOP, workers=workers)
    assert fit(run_of(parts, stopping(at), **fixed), Squares()) == 128 + signal.SIGTERM
    assert load(parts).record.step == at if at else not list(parts.glob("checkpoint-*"))
    assert fit(run_of(parts, resume=True, **fixed), Squares()) == 0
    assert lines(parts) == lines(whole)
    assert digest(parts) == digest(whole)


def test_everything_that_a_run_remembers_resumes_to_the_bit(tmp_path: Path) -> None:
    _stopped_and_resumed(tmp_path, 1, 4, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_run_stopped_at_a_random_step_resumes_to_the_bit(tmp_path: Path, seed: int) -> None:
    for workers in (0, 2):
        at = int(np.random.default_rng((seed, workers)).integers(0, STEPS))
        _stopped_and_resumed(tmp_path, seed, at, workers)


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(17, marks=pytest.mark.slow),
        pytest.param(1, marks=[pytest.mark.chaos, pytest.mark.timeout(1800)]),
    ],
)
def test_a_run_killed_inside_a_save_resumes_to_the_bit(tmp_path: Path, every: int) -> None:
    command = [sys.executable, "-m", "tests.dying", str(tmp_path), str(every)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) > 90 / every
    good = {"code": 0, "same": True, "left": []}
    wrong = {at: each for at, each in found.items() if {key: each[key] for key in good} != good or each["lost"] > 2}
    assert not wrong
    assert {each["lost"] for each in found.values()} >= ({0, 2} if every == 1 else set())


def test_a_disk_that_fills_up_leaves_the_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(run_of(tmp_path / "whole"), Squares()) == 0
    real, names = checkpoint._write, []

    def filling(path: Path, content: bytes) -> None:
        names.append(path.name)
        if names.count("model.safetensors") == 2:
            real(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", filling)
        assert run(Segment, lambda config: fit(run_of(out), Squares()), _flags(out)) == 1
    said = capsys.readouterr().err
    assert "checkpoint-6: no space left on device" in said and "Traceback" not in said
    assert load(out, state=True).record.step == 3 and not list(out.glob(".*"))
    assert fit(run_of(out, resume=True), Squares()) == 0
    assert digest(out) == digest(tmp_path / "whole")


def _flags(out: Path) -> list[str]:
    return ["--data", "folder", "--root", str(out), "--out", str(out)]


def test_a_full_disk_at_the_journal_names_it(tmp_path: Path) -> None:
    from fastseg.journal import Journal

    with Journal(tmp_path / "metrics.jsonl", 0, 2, "segment") as journal:
        journal._file.close()
        journal._file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
        with pytest.raises(OSError, match="No space") as error:
            journal.write({"step": 1})
        assert error.value.filename == str(tmp_path / "metrics.jsonl")


def test_one_image_at_a_time_is_too_few_for_some_networks(tmp_path: Path) -> None:
    for change in ({"batch": 1}, {"optim": OptimConfig(accumulate=2)}):
        with pytest.raises(ValueError, match="batch normalisation needs more than 1 image at a time; give a larger"):
            fit(run_of(tmp_path, network="fpn/mobilenetv3_small_050", **change), Squares())
    assert not list(tmp_path.glob("checkpoint-*"))


def test_half_precision_that_overflows_leaves_finite_weights_and_resumes(tmp_path: Path) -> None:
    optim, loop = OptimConfig(lr=0.01), replace(LOOP, precision="fp16")
    fixed = {"optim": optim, "loop": loop, "steps": STEPS}
    assert fit(run_of(tmp_path / "whole", **fixed), Squares()) == 0
    found = load(tmp_path / "whole")
    assert all(bool(value.isfinite().all()) for value in found.weights.values())
    assert found.record.progress["scaler"]["scale"] > 0
    assert fit(run_of(tmp_path / "parts", stopping(2), **fixed), Squares()) == 128 + signal.SIGTERM
    assert fit(run_of(tmp_path / "parts", resume=True, **fixed), Squares()) == 0
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_in_a_step_saves_it_and_ends_within_ten_seconds(tmp_path: Path) -> None:
    sent: list[float] = []

    class Told(Segment):
        def loss(
            self, net: Module, images: Tensor, labels: Tensor, weight: Tensor | None, scene: Scene | None = None
        ) -> Tensor:
            sent.append(time.monotonic())
            if len(sent) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(net, images, labels, weight)

    network = "segnet/vgg16_bn"  # 118 MB of weights and as much momentum
    assert fit(run_of(tmp_path, Told, network=network), Squares()) == 128 + signal.SIGTERM
    assert time.monotonic() - sent[1] < 10
    assert load(tmp_path).record.step == 2


class Slow(Squares):
    """Tells its process to stop at the fifth image that an evaluation reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        self.read += 1
        if self.read == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


@pytest.mark.parametrize("steps", [6, 4])
def test_a_stop_does_not_wait_for_an_evaluation_which_is_made_up_for(tmp_path: Path, steps: int) -> None:
    fixed = {"steps": steps, "loop": replace(LOOP, eval_every=4), "optim": OptimConfig(ema=0.5)}
    assert fit(run_of(tmp_path / "whole", **fixed), Squares(), Squares()) == 0
    out = tmp_path / "parts"
    validation = Slow()
    assert fit(run_of(out, **fixed), Squares(), validation) == 128 + signal.SIGTERM
    assert load(out).record.step == 4 and validation.read == 5
    assert fit(run_of(out, resume=True, **fixed), Squares(), Squares()) == 0
    assert _scores(out) == _scores(tmp_path / "whole") and 4 in [each["step"] for each in _scores(out)]
    assert digest(out) == digest(tmp_path / "whole")
    assert fit(run_of(out, resume=True, **fixed), Squares(), Squares()) == 0
    assert _scores(out) == _scores(tmp_path / "whole"), "an evaluation made up for is written once"


def _scores(out: Path) -> list[dict[str, float]]:
    written = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [each for each in written if "miou" in each]
