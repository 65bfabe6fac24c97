"""`fastseg explain`: a small run made here, its page, and what it refuses."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastseg.data.pssl_shards import PSSLShards
from fastseg.explain import cli
from pipelines.make_pssl_labels import cli as make

pytestmark = pytest.mark.torch
HOSTILE = "<script>owned<"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two classifiers on four pictures, one of them damaged."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("explain")
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / f"{seed}.safetensors")
    listed = [{"arch": "timm:test_resnet", "weights": f"{seed}.safetensors", "name": f"net-{seed}", "size": 32,
               "classes": "outputs.txt"} for seed in (1, 2)]  # fmt: skip
    (folder / "outputs.txt").write_text(f"cat\n{HOSTILE}\n")
    (folder / "models.json").write_text(json.dumps(listed))
    for name in ("cat/a", "cat/b", f"{HOSTILE}/c", "cat/broken"):
        data = io.BytesIO()
        values = np.random.default_rng(len(name)).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(values).save(data, "PNG")
        (folder / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / f"{name}.png").write_bytes(data.getvalue()[: 300 if "broken" in name else None])
    words = ["--layout", "imagefolder", "--root", str(folder / "pictures"), "--models", str(folder / "models.json")]
    size = ["--workers", "0", "--pssl.samples", "2", "--pssl.size", "32"]
    assert make([*words, "--out", str(folder / "run"), *size]) == 0
    return folder


def test_the_page_shows_every_map_and_makes_the_runs_deciles_again(made: Path, tmp_path: Path) -> None:
    assert cli([str(made / "run"), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "explain.html").read_text()
    assert page.count("made again, 100.00% of the deciles are the run") == 3
    for caption in ("picture", "net-1", "net-2", "ensemble", "deciles"):
        assert page.count(f"<figcaption>{caption}</figcaption>") == 3
    assert len(re.findall(r"cat: 1\d\.\d% of the pixels", page)) == 4  # caption and alternative text of two
    assert "cat/broken" in page and "decode" in page
    assert "<script" not in page and "&lt;script&gt;owned&lt;" in page


def test_without_maps_no_classifier_is_needed(made: Path, tmp_path: Path) -> None:
    assert cli([str(made / "run"), "--out", str(tmp_path), "--maps", "false", "--ids", "[cat/b]"]) == 0
    page = (tmp_path / "explain.html").read_text()
    assert "1 of 3" in page and "ensemble</figcaption>" not in page and "made again" not in page


def test_other_classifiers_and_unknown_pictures_are_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = made / "other.json"
    other.write_text(json.dumps(json.loads((made / "models.json").read_text())[:1]))
    for words, said in (
        (["--models", str(other)], "lists other classifiers than the run's: net-1, net-2"),
        (["--models", str(made / "none.json")], "is not there"),
        (["--ids", "[cat/z]"], "has no label of 'cat/z'"),
        (["--images", "0"], "must be at least 1"),
    ):
        assert cli([str(made / "run"), "--out", str(tmp_path), *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "explain.html").exists()
    assert cli([str(made / "pictures"), "--out", str(tmp_path)]) == 2


def test_the_runs_shards_hold_what_the_page_draws(made: Path) -> None:
    assert PSSLShards(str(made / "run")).ids() == [f"{HOSTILE}/c", "cat/a", "cat/b"]
