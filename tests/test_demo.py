from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastseg import demo_stages
from fastseg.cli import run
from fastseg.demo import main, open_out, verdict
from fastseg.demo_stages import Demo, checkout_folder, flags, run_all, write_data


def tiny(out: Path, root: Path | None = None) -> Demo:
    """The smallest demo that goes through every stage."""
    sizes = {"seeds": 1, "frames": 8, "labelled": 2, "validation": 2, "steps": 4, "tune_steps": 4, "workers": 0}
    return replace(Demo(out=out, root=root, size="32x32", network="linknet/resnet10t"), **sizes)  # type: ignore[arg-type]


def scored(*miou: float) -> list[dict[str, Any]]:
    return [{"miou": value} for value in miou]


def test_the_closing_lines_state_both_scores() -> None:
    lines = verdict(Demo(), {"scratch": scored(0.20, 0.22), "hn": scored(0.30, 0.28)})
    assert "21.0 %   (seeds: 20.0, 22.0)" in lines[1] and "29.0 %   (seeds: 30.0, 28.0)" in lines[2]
    assert lines[3] == "HN pre-training was ahead by 8.0 points, in 2 of 2 seeds."


def test_the_closing_lines_compare_seed_by_seed_and_say_when_there_is_no_gain() -> None:
    lines = verdict(Demo(), {"scratch": scored(0.1, 0.3), "hn": scored(0.2, 0.28)})
    assert lines[3] == "HN pre-training was ahead by 4.0 points, in 1 of 2 seeds."
    assert "did not help here: -5.0" in verdict(Demo(), {"scratch": scored(0.3), "hn": scored(0.25)})[3]


def test_a_folder_with_other_things_in_it_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ValueError, match="not empty and holds no earlier demo"):
        open_out(Demo(out=tmp_path, overwrite=True))
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"


def test_an_earlier_demo_is_replaced_only_when_asked(tmp_path: Path) -> None:
    open_out(Demo(out=tmp_path / "demo"))
    (tmp_path / "demo" / "old").touch()
    with pytest.raises(ValueError, match="give --overwrite"):
        open_out(Demo(out=tmp_path / "demo"))
    open_out(Demo(out=tmp_path / "demo", overwrite=True))
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["demo.json"]


def test_figures_that_make_no_demo_are_refused() -> None:
    with pytest.raises(ValueError, match="--labelled must be at least 1; got 0"):
        Demo(labelled=0)
    with pytest.raises(ValueError, match="--workers must not be negative"):
        Demo(workers=-1)


def test_an_installed_package_without_the_repository_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_stages, "__file__", str(tmp_path / "site" / "fastseg" / "demo_stages.py"))
    monkeypatch.chdir(tmp_path)
    assert run(Demo, main, ["--out", str(tmp_path / "demo")]) == 2
    assert "run the demo from a clone of the repository" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_the_validation_rooms_are_not_those_of_training(tmp_path: Path) -> None:
    _, labelled = write_data(tiny(tmp_path))
    train, val = ((labelled / f"{split}.txt").read_text().split() for split in ("train", "val"))
    assert len(train) == demo_stages.POOL * 2 and len(val) == 2
    rooms = [{name.partition("/")[0] for name in names} for names in (train, val)]
    assert not rooms[0] & rooms[1] and len(rooms[0]) == len(train)


def test_own_labels_are_used_where_the_root_has_splits(tmp_path: Path) -> None:
    _, labelled = write_data(tiny(tmp_path / "rooms"))
    assert write_data(tiny(tmp_path / "demo", labelled)) == (labelled, labelled)
    (labelled / "val.txt").unlink()
    assert write_data(tiny(tmp_path / "demo", labelled))[1] == tmp_path / "demo" / "labelled"


def test_a_program_that_fails_ends_the_demo_and_its_neighbour(tmp_path: Path) -> None:
    commands = {"bad": [sys.executable, "-c", "print('no'); raise SystemExit(3)"]}
    commands["slow"] = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ValueError, match=r"bad ended with exit code 3: no \(all it said is in .*bad\.txt\)"):
        run_all(commands, tmp_path, tmp_path)
    assert (tmp_path / "bad.txt").read_text() == "no\n"


def test_a_command_is_the_programs_own(tmp_path: Path) -> None:
    command = flags("fastseg.train", {"out": tmp_path / "a b", "loop.workers": 0}, "hn")
    assert command == [sys.executable, "-m", "fastseg.train", "hn", f"--out={tmp_path / 'a b'}", "--loop.workers=0"]


@pytest.mark.slow
@pytest.mark.torch
def test_the_demo_from_rooms_to_a_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkout_folder(0)
    out = tmp_path / "demo"
    assert main(tiny(out)) == 0
    page, kept = (out / "report.html").read_text("utf-8"), json.loads((out / "demo.json").read_text())
    assert page.count("<figure>") == 4 * 3 + 2 * 4 and page.count("<polyline") >= 5 and "<script" not in page
    shown = re.search(r"from HN pre-training +([\d.]+) %", capfd.readouterr().out)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(100 * kept["results"]["hn"][0]["miou"], abs=0.051)
