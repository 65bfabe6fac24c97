from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fastseg.checkpoint import CheckpointError, Record, latest, load, save
from fastseg.data.augment import IMAGENET

pytestmark = pytest.mark.torch


class Killed(BaseException):
    """Stands for a kill at one system call."""


def _record(step: int) -> Record:
    config = {"network": "segnet/vgg11_bn", "augment": {"flip": 0.5}, "lr": 1e-3}
    return Record("hn", "segnet/vgg11_bn", ("floor", "wälle"), IMAGENET, (48, 64), step, step // 10, config, {"a": [1]})


def _save(out: Path, step: int) -> Path:
    weights = {"layer.weight": torch.full((3, 4), float(step)), "layer.count": torch.tensor(step)}
    return save(out, _record(step), weights, {"0.momentum_buffer": torch.ones(3) * step})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    folder = _save(tmp_path, 7)
    for found in (load(folder, state=True), load(tmp_path, state=True)):
        assert found.path == folder and found.record == _record(7)
        assert torch.equal(found.weights["layer.weight"], torch.full((3, 4), 7.0))
        assert found.weights["layer.count"].item() == 7 and found.weights["layer.count"].dtype == torch.int64
        assert torch.equal(found.state["0.momentum_buffer"], torch.ones(3) * 7)


def test_the_last_two_are_kept_and_latest_names_the_last(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        _save(tmp_path, step)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-100", "latest"}
    assert (tmp_path / "latest").read_text() == "checkpoint-100\n"


@pytest.mark.parametrize("part", ["checkpoint.json", "model.safetensors", "state.safetensors"])
def test_every_flipped_byte_is_caught_and_the_previous_checkpoint_loads(tmp_path: Path, part: str) -> None:
    _save(tmp_path, 1)
    path = _save(tmp_path, 2) / part
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(good), 70):
        flipped = bytearray(good)
        flipped[at] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=part):
            load(path.parent, state=True)
        assert load(tmp_path, state=True).record.step == 1
    path.write_bytes(good)
    assert load(tmp_path, state=True).record.step == 2


@pytest.mark.parametrize("part", ["checkpoint.json", "model.safetensors", "state.safetensors", "latest"])
def test_a_missing_or_truncated_part_falls_back(tmp_path: Path, part: str) -> None:
    _save(tmp_path, 1)
    path = tmp_path / part if part == "latest" else _save(tmp_path, 2) / part
    expected = 1 if part != "latest" else latest(tmp_path).record.step  # type: ignore[union-attr]
    for content in (path.read_bytes()[: len(path.read_bytes()) // 2], b"", None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert load(tmp_path, state=True).record.step == expected
        if content is None:
            break


def test_swapped_parts_of_two_checkpoints_are_caught(tmp_path: Path) -> None:
    first, second = _save(tmp_path, 1), _save(tmp_path, 2)
    (second / "model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load(second)


def test_a_kill_at_any_system_call_of_a_save_leaves_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survived = []
    for fatal in range(1, 60):
        out = tmp_path / str(fatal)
        _save(out, 1)
        died = _save_killed_at(fatal, out, monkeypatch)
        found = load(out, state=True)
        survived.append(found.record.step)
        assert _save(out, 3) == load(out).path
        assert not list(out.glob(".*"))
        if not died:
            break
    assert survived[0] == 1 and survived[-1] == 2 and len(survived) > 8
    assert survived == sorted(survived)


def _save_killed_at(fatal: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the save of step 2 was killed at its `fatal`-th call (after it half happened)."""
    calls = 0

    def counted(real: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fatal:
                raise Killed
            return real(*arguments, **options)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "rename", "mkdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr("shutil.rmtree", lambda *a, **k: None)  # a killed process tidies nothing up
        try:
            _save(out, 2)
        except Killed:
            return True
    return False


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as error:
            _save(tmp_path, 2)
    assert error.value.errno == 28 and error.value.filename == str(tmp_path / "checkpoint-2")
    assert load(tmp_path).record.step == 1
    assert not list(tmp_path.glob(".*"))


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load(tmp_path)
