"""The build is timed from a clean copy, and without nvcc means that no PATH leads to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import build_time


def test_a_path_without_nvcc_keeps_every_other_folder(tmp_path: Path) -> None:
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda/nvcc").touch()
    (tmp_path / "bin").mkdir()
    path = os.pathsep.join([str(tmp_path / "cuda"), str(tmp_path / "bin")])
    assert build_time.path_without_nvcc(path) == str(tmp_path / "bin")


def test_a_copy_holds_the_tracked_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "deep").mkdir(parents=True)
    for name in ("kept", "deep/kept", "stray"):
        (checkout / name).write_text(name)
    for words in (["init", "-q"], ["add", "kept", "deep"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    monkeypatch.setattr(build_time, "CHECKOUT", checkout)
    copy = build_time.tracked_copy(tmp_path / "copy")
    assert sorted(path.name for path in copy.rglob("*") if path.is_file()) == ["kept", "kept"]
    monkeypatch.setattr(build_time, "CHECKOUT", tmp_path)
    with pytest.raises(ValueError, match="from a git checkout"):
        build_time.tracked_copy(tmp_path / "other")


def test_a_failing_install_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").touch()
    for words in (["init", "-q"], ["add", "kept"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(build_time, "CHECKOUT", tmp_path)
    with pytest.raises(ValueError, match="exit code 1"):
        build_time.install(os.environ["PATH"], ("false",))
