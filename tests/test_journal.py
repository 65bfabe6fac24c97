"""The journal of a run: a bar on a terminal that moves with every step, plain lines elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastseg.journal import Journal


def test_the_bar_moves_between_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Journal(tmp_path / "metrics.jsonl", 0, 10, "hn") as journal:
        journal.show(5, "loss 1.0")
        journal.advance(7)
    last = capsys.readouterr().out
    assert "7/10" in last and "loss 1.0" in last


def test_elsewhere_only_figures_make_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path / "metrics.jsonl", 0, 10, "hn") as journal:
        journal.advance(7)
        journal.show(10, "loss 1.0", final=True)
    assert capsys.readouterr().out == "hn: step 10 of 10, loss 1.0\n"
