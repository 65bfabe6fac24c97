from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastseg.checkpoint import Record, save
from fastseg.data.augment import IMAGENET
from fastseg.data.rooms import ROOM_CLASSES
from fastseg.gates import Gates, Seen, Truth, cli, main
from fastseg.gates_scores import Tally
from fastseg.nets import build_network

pytestmark = pytest.mark.torch


def _run(out: Path, network: str) -> Path:
    classes = tuple(ROOM_CLASSES)
    record = Record("gating", network, classes, IMAGENET, (64, 96), 1, 0, {})
    save(out, record, build_network(network, len(classes)).state_dict(), {})
    (out / "val.json").write_text('{"seed": 4, "count": 2, "height": 64, "width": 96}')
    return out


def _gates(run: Path, **changed: object) -> Gates:
    return Gates(**{"checkpoint": run, "data": "rooms", "root": str(run), "out": run / "out", **changed})  # type: ignore[arg-type]


def test_every_pass_is_scored_and_drawn(tmp_path: Path) -> None:
    run = _run(tmp_path, "gated-predicted-loops1-both-w16/mobilenetv3_small_050")
    assert main(_gates(run, loops=2, smooth=0.6, images=1)) == 0
    found = json.loads((run / "out/gates.json").read_text())
    assert len(found["passes"]) == 3 and found["images"] == 2 and found["edges"] == [1.5, 2.1, 3.0, 4.7]
    for each in found["passes"]:
        assert sum(each["gates"]) == pytest.approx(1, abs=1e-4) and 0 <= each["bin_accuracy"] <= 1
        assert each["depth"]["pixels"] > 0 and len(each["distances"]) == 5
    html = (run / "out/gates.html").read_text()
    assert "default-src 'none'" in html and "<script" not in html
    assert html.count("<figure>") == 4 + 8 + 9 + 9


def test_measured_gates_are_given_theirs(tmp_path: Path) -> None:
    run = _run(tmp_path, "gated-ground_truth-w16/mobilenetv3_small_050")
    assert main(_gates(run)) == 0
    (first,) = json.loads((run / "out/gates.json").read_text())["passes"]
    assert "bin_accuracy" not in first and "depth" not in first


@pytest.mark.parametrize(
    ("network", "changed", "sentence"),
    [
        ("unet/mobilenetv3_small_050", {}, "has no gates; `fastseg train gating` trains one"),
        ("gated-loops1-w16/mobilenetv3_small_050", {"loops": 0}, "makes at least 1 loop; got 0"),
        ("gated-w16/mobilenetv3_small_050", {"loops": 2}, "no recurrent module"),
        ("gated-both-w16/mobilenetv3_small_050", {"smooth": 9.0}, "smoothing by sigma 9 needs an image"),
    ],
)
def test_what_cannot_be_looked_into_is_refused(
    tmp_path: Path, network: str, changed: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        main(_gates(_run(tmp_path, network), **changed))


def test_a_mistake_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path, "unet/mobilenetv3_small_050")
    assert cli([str(run), "--data", "rooms", "--root", str(run), "--out", str(run / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pass_that_is_right_scores_one() -> None:
    label, bins = np.array([[0, 1], [1, 255]], np.uint8), np.array([[0, 1], [255, 1]], np.uint8)
    depth = np.array([[1.0, 4.0], [0.0, 5.0]], np.float32)
    tally = Tally(2, 2)
    gate = np.stack([bins == 0, bins != 0]).astype(np.float32)
    truth = Truth(np.zeros((2, 2, 3), np.uint8), label, bins, bins, depth)
    tally.add(truth, Seen(np.array([[0, 1], [1, 0]]), gate, np.where(bins == 0, 0, 1), np.where(depth > 0, depth, 9)))
    found = tally.as_json(["a", "b"])
    assert (found["miou"], found["bin_accuracy"], found["depth"]["delta1"], found["depth"]["rel"]) == (1, 1, 1, 0)
    assert found["gates"] == [0.25, 0.75]
    near, far = found["distances"]
    assert near["miou"] == far["miou"] == 1
