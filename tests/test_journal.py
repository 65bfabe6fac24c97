"""The journal of a run: a bar on a terminal that moves with every step, plain lines elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastseg.journal import Journal, records, scored


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


def test_a_line_that_a_kill_cut_short_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(records(path)) == [] and not scored(path, 4)
    path.write_text('{"step": 4, "loss": 1.0}\n{"step": 4, "miou": 0.5}\n{"step": 8, "mi')
    assert [record["step"] for record in records(path)] == [4, 4]
    assert scored(path, 4) and not scored(path, 8)
