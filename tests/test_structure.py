"""The pages of `fastseg structure`, and a study whose regulariser takes its autoencoder from a pre-training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fastseg.compare import cli as compare
from fastseg.methods import RegulariserConfig
from fastseg.methods.structure import LabelStructure
from fastseg.structure import cli
from fastseg.structure_looks import Seen
from fastseg.structure_regions import Region, Regions, query
from fastseg.train import fit
from tests.squares import LOOP, Squares, run_of

pytestmark = pytest.mark.torch
SIZE = "48x48"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured squares as a `folder` data set, a label autoencoder of them, and a network that it regularised."""
    top = tmp_path_factory.mktemp("structure")
    for index in range(8):
        image, label = Squares()[index]
        for kind, pixels in (("color", image), ("labels", label)):
            (top / "set" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(top / "set" / kind / f"{index}.png")
    (top / "set" / "classes.txt").write_text("\n".join(Squares.class_names))
    (top / "set" / "train.txt").write_text("\n".join("01234"))
    (top / "set" / "val.txt").write_text("\n".join("567"))
    method = LabelStructure("folder", "x", top / "maps", widths=32, size=SIZE, steps=3, batch=2, loop=LOOP)
    assert fit(method, Squares()) == 0
    config = RegulariserConfig("decoder", str(top / "maps"))
    assert fit(run_of(top / "net", size=SIZE, steps=3, regulariser=config), Squares()) == 0
    return top


def _page(made: Path, out: Path, command: str, source: str, *more: str) -> str:
    words = [command, str(made / source), "--out", str(out), "--data", "folder", "--root", str(made / "set")]
    assert cli([*words, "--count", "2", *more]) == 0
    text = (out / "structure.html").read_text("utf-8")
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    return text


def test_reconstructions_are_shown_beside_their_maps(made: Path, tmp_path: Path) -> None:
    text = _page(made, tmp_path, "pictures", "maps")
    assert text.count("<figcaption>truth") == text.count("<figcaption>reconstruction: ") == 2
    assert "<figcaption>image" not in text and "ground" in text


def test_auxiliary_predictions_are_shown_beside_the_networks(made: Path, tmp_path: Path) -> None:
    text = _page(made, tmp_path, "pictures", "net")
    for caption in ("image", "truth", "prediction: ", "auxiliary prediction: "):
        assert text.count(f"<figcaption>{caption}") == 2


@pytest.mark.parametrize(("source", "kind", "shown"), [("maps", "label", 6), ("net", "image", 12)])
def test_nearest_regions_are_found_by_label_and_by_image(
    made: Path, tmp_path: Path, source: str, kind: str, shown: int
) -> None:
    text = _page(made, tmp_path, "nearest", source)
    assert f"nearest regions by {kind}" in text
    assert text.count("<figcaption>query: ") == 2 and text.count("</figcaption>") == shown
    assert text.count("<figcaption>truth") == shown - 6


def _seen(label: np.ndarray[Any, Any], *features: tuple[float, float]) -> Seen:
    return Seen(label.astype(np.uint8), {}, np.array(features, np.float32).T.reshape(2, 1, -1))


def test_the_nearest_region_is_that_of_the_same_direction_in_each_other_map() -> None:
    whole = np.zeros((16, 32))
    void = np.where(np.arange(32) < 16, 255, whole)
    regions = Regions([_seen(whole, (1, 0), (0, 2)), _seen(whole, (3, 3), (1, 0.9)), _seen(void, (0, 1), (-1, 0))])
    assert len(regions.places) == 5  # a void cell is none
    found = regions.nearest(np.array([0, 5], np.float32), 2)
    assert [(each.at, each.column) for each in found] == [(0, 1), (1, 0)]
    assert found[0].alike == pytest.approx(1) and found[1].alike == pytest.approx(2**-0.5)
    with pytest.raises(ValueError, match="no region of these maps is labelled"):
        Regions([_seen(np.full((16, 16), 255), (1, 0))])


def test_a_region_is_asked_for_where_classes_meet() -> None:
    label = np.zeros((16, 32))
    label[4:9, 20:25] = 1
    assert query(_seen(label, (1, 0), (0, 1)), np.random.default_rng(0)) == Region(0, 0, 1)
    assert query(_seen(np.full((16, 16), 255), (1, 0)), np.random.default_rng(0)) is None


def _study(scores: dict[str, float]) -> dict[str, Any]:
    variants = [{"name": "none", "fields": {}}]
    for name in list(scores)[1:]:
        branch = {"kind": "decoder", "autoencoder": "pretrain:maps", "weight": float(name[1:])}
        variants.append({"name": name, "fields": {"regulariser": branch}})
    rows = [
        {"variant": name, "seed": seed, "images": images, "miou": miou + 0.01 * seed}
        for images in (2, 4)
        for name, miou in scores.items()
        for seed in (0, 1)
    ]
    return {"protocol": {"name": "weights", "segment": {}, "variants": variants}, "rows": rows}


def test_a_sweep_is_the_score_over_the_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.json").write_text(json.dumps(_study({"none": 0.4, "w0.5": 0.45, "w2": 0.42})))
    assert cli(["sweep", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "structure.html").read_text("utf-8")
    assert (tmp_path / "out" / "sweep.svg").read_text("utf-8").startswith("<svg xmlns")
    assert "<polyline" in text and "45.50" in text and "40.50" in text and "0.71" in text
    (tmp_path / "study.json").write_text(json.dumps(_study({"none": 0.4})))
    assert cli(["sweep", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "do not differ in regulariser.weight" in capsys.readouterr().err
    assert cli(["sweep", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "study.json: expected the figures of a study" in capsys.readouterr().err


def test_what_cannot_be_looked_at_is_told(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(run_of(tmp_path / "plain"), Squares()) == 0
    words = ["pictures", str(tmp_path / "plain"), "--out", str(tmp_path / "out")]
    assert cli([*words, "--data", "folder", "--root", str(made / "set")]) == 2
    assert "was trained with regulariser none: a label autoencoder's run is needed here" in capsys.readouterr().err
    assert cli(words) == 2
    assert "pictures needs labels to look at: give --data and --root" in capsys.readouterr().err
    (made / "other").mkdir()
    (made / "other" / "labels").mkdir()
    Image.fromarray(Squares()[0][1]).save(made / "other" / "labels" / "0.png")
    (made / "other" / "classes.txt").write_text("a\nb\nc\n")
    words = ["pictures", str(made / "maps"), "--out", str(tmp_path), "--data", "labels", "--split", "all"]
    assert cli([*words, "--root", str(made / "other")]) == 2
    assert "the first that differs: 'ground' against 'a'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_trains_the_autoencoder_that_its_variants_share(made: Path, tmp_path: Path) -> None:
    shared = {"size": SIZE, "batch": 2, "loop": {"workers": 0, "device": "cpu"}, "root": str(made / "set")}
    branch = {"kind": "decoder", "autoencoder": "pretrain:maps"}
    values = {
        "name": "weights", "seeds": [0],
        "pretrain": [
            {"name": "maps", "method": "label-autoencoder",
             "fields": {**shared, "data": "folder", "widths": 32, "steps": 2}},
        ],
        "segment": {
            **shared, "data": "folder", "network": "linknet/mobilenetv3_small_050", "steps": 2,
            "loop": {"workers": 0, "device": "cpu", "eval_every": 2}, "regulariser": branch,
        },
        "variants": [{"name": "half"}, {"name": "more", "fields": {"regulariser": {"weight": 2.0}}}],
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    assert compare([str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]) == 0
    proof = json.loads((tmp_path / "out/cells/more-5-0/regulariser.json").read_text())
    assert proof["sha256_before"] == proof["sha256_now"]
    assert cli(["sweep", str(tmp_path / "out"), "--out", str(tmp_path / "page")]) == 0
    other = {"name": "half", "fields": {"regulariser": {"autoencoder": "pretrain:no"}}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**values, "variants": [other]}))
    assert compare([str(tmp_path / "wrong.yaml"), "--out", str(tmp_path / "wrong")]) == 2
