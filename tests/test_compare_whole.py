"""Studies from one command to their report, and the results of those that are committed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastseg.compare import cli
from fastseg.compare_plan import Task
from tests.compare_kit import root, values

__all__ = ["root"]
ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.torch
def test_one_command_trains_and_reports(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variants = [{"name": "scratch"}, {"name": "encoder", "init": str(tmp_path / "out/cells/scratch-4-0")}]
    one = {"pretrain": [], "seeds": [0], "counts": []}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**values(root), **one, "variants": variants[:1]}))
    words = [str(path), "--out", str(tmp_path / "out")]
    assert cli(words) == 0
    first = (tmp_path / "out/study.json").read_text()
    assert [row["variant"] for row in json.loads(first)["rows"]] == ["scratch"]
    path.write_text(yaml.safe_dump({**values(root), **one, "variants": variants}))  # one more
    capsys.readouterr()
    assert cli([*words, "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "-- cell-encoder-4-0" in said and "-- cell-scratch-4-0" not in said, "what is done is not run again"
    record = json.loads((tmp_path / "out/study.json").read_text())
    assert record["rows"][0] == json.loads(first)["rows"][0] and len(record["rows"]) == 2
    assert (tmp_path / "out/cells/encoder-4-0/transfer.json").is_file()


@pytest.mark.slow
@pytest.mark.torch
def test_depth_from_video_goes_over_in_every_way_of_the_paper(tmp_path: Path, root: Path) -> None:
    import torch

    from fastseg.checkpoint import load

    (tmp_path / "rooms.json").write_text('{"seed": 4, "count": 6, "height": 64, "width": 96, "views": 6}')
    tiny, frozen = "skip/mobilenetv3_small_050", {"freeze": -1}
    depth = {
        "supervision": "video", "root": str(tmp_path), "network": tiny, "size": "64x96", "batch": 2, "steps": 2,
        "clips": {"source": "rooms"}, "loop": {"workers": 0},
    }  # fmt: skip
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "encoder": {"transfer": {"mode": "encoder"}},
        "frozen": {"transfer": frozen},
        "other": {"transfer": {"mode": "encoder"}, "fields": {"network": "unet/mobilenetv3_small_050"}},
    }
    stage = {"name": "depth", "method": "monodepth", "fields": depth}
    changed: dict[str, Any] = {"pretrain": [stage], "seeds": [0], "order": ["whole", "frozen"]}
    changed |= {"variants": [{"name": name, "init": "pretrain:depth", **way} for name, way in ways.items()]}
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(values(root, lambda v: v["segment"].update(network=tiny)) | changed))
    assert cli([str(path), "--out", str(out)]) == 0
    moved = {name: json.loads((out / f"cells/{name}-2-0/transfer.json").read_text())["matched"] for name in ways}
    encoder = {name for name in moved["whole"] if name.startswith("encoder.")}
    assert set(moved["encoder"]) == encoder == set(moved["other"]) and set(moved["frozen"]) == set(moved["whole"])
    assert any(name.startswith("decoder.") for name in moved["whole"])
    learned = load(out / "pretrain/depth/run").weights
    kept = {name: load(out / f"cells/{name}-2-0").weights for name in ("whole", "frozen")}
    changed_by = {
        name: any(not torch.equal(found[key], learned[key]) for key in encoder) for name, found in kept.items()
    }
    assert changed_by == {"whole": True, "frozen": False}
    assert [each["images"] for each in json.loads((out / "study.json").read_text())["order"]] == [2, 4]


def test_a_task_is_a_program_of_this_library() -> None:
    task = Task("a", ("fastseg.train", "segment"), {})
    from fastseg.compare_run import command

    assert command(task, Path("c.json"))[:4] == [sys.executable, "-m", "fastseg.train", "segment"]


def test_the_committed_camvid_study_is_whole() -> None:
    found = json.loads((ROOT / "benchmarks/results/study_hn_camvid.json").read_text())
    assert list(found) == ["protocol", "machine", "versions", "date", "rows"]
    wanted = {(name, seed) for name in ("scratch", "hn_full", "hn_frozen_k", "hn_cross_stitch") for seed in (0, 1, 2)}
    assert {(row["variant"], row["seed"]) for row in found["rows"]} == wanted and len(found["rows"]) == 12
    assert all([point["epoch"] for point in row["curve"]] == [1, 2, 3, 4, 5] for row in found["rows"])
    assert found["protocol"]["scored_on"] == "val"


def test_the_committed_study_of_depth_on_rooms_is_whole() -> None:
    found = json.loads((ROOT / "benchmarks/results/study_monodepth_rooms.json").read_text())
    starts = ["depth_video", "depth_sensor", "flow", "inpaint"]
    names = ["scratch", *starts, *(f"{name}_frozen" for name in starts)]
    wanted = {(name, images, seed) for name in names for images in (8, 16, 32) for seed in range(4)}
    assert {(row["variant"], row["images"], row["seed"]) for row in found["rows"]} == wanted
    assert len(found["rows"]) == 108 and [each["images"] for each in found["order"]] == [8, 16, 32]
    assert found["protocol"]["order"] == ["depth_video", "inpaint", "scratch", "flow"]
