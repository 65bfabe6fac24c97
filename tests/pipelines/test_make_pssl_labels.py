"""make_pssl_labels on small pictures: every poison its reason, every layout the same labels, resumption, refusals."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toy_run import rows, snapshot

from fastseg.data import shards
from fastseg.data.class_pictures import Picture, decoded
from fastseg.labels.pssl_config import PSSLConfig, unpacked
from fastseg.verify import problems
from pipelines.make_pssl_labels import cli, main
from pipelines.pssl_plan import MakePSSLLabels, Tuning

CLASSES = ("cat", "dog", "owl")
SIZE = 32
ARCH = "timm:test_resnet"  # 32 kB of weights, for tests


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of two classifiers with weights of their own."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder, listed = tmp_path_factory.mktemp("models"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = timm.create_model(ARCH.partition(":")[2], num_classes=1000)
        save_file(net.state_dict(), folder / f"{seed}.safetensors")
        about = {"arch": ARCH, "weights": f"{seed}.safetensors", "name": f"model-{seed}", "size": SIZE}
        listed.append(about | {"classes": "names.txt"})
    names = [*CLASSES, *(f"other-{i}" for i in range(997))]
    (folder / "names.txt").write_text("\n".join(reversed(names)))
    (folder / "models.json").write_text(json.dumps(listed))
    return folder / "models.json"


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(seed: int, size: tuple[int, int] = (40, 48), channels: int = 3) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)
    return Image.fromarray(values if channels > 1 else values[..., 0])


def poison() -> dict[str, tuple[bytes, str]]:
    """File below the root -> bytes and the reason that they are rejected for, empty for what is fine."""
    still, exif = noise(9), Image.Exif()
    exif[274] = 6  # a quarter turn
    deep = Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48))
    frames = {"save_all": True, "append_images": [noise(2)]}
    return {
        "cat/plain.jpg": (encoded(still), ""),
        "cat/cmyk.jpg": (encoded(still.convert("CMYK")), ""),
        "cat/rotated.jpg": (encoded(still, exif=exif), ""),
        "cat/grey.jpg": (encoded(noise(3, channels=1)), ""),
        "dog/palette.png": (encoded(still.quantize(), "PNG"), ""),
        "dog/alpha.webp": (encoded(still.convert("RGBA"), "WEBP"), ""),
        "dog/deep.png": (encoded(deep, "PNG"), "type"),
        "dog/animated.webp": (encoded(still, "WEBP", **frames), "animated"),
        "dog/moving.png": (encoded(still, "PNG", **frames), "animated"),
        "owl/truncated.jpg": (encoded(noise(4, (200, 200)))[:4000], "decode"),
        "owl/empty.jpg": (b"", "decode"),
        "owl/gif.jpg": (encoded(still, "GIF"), "decode"),
        "unknown/fine.jpg": (encoded(still), "class"),
    }


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def config(root: Path, models: Path, out: Path, **changed: Any) -> MakePSSLLabels:
    pssl = PSSLConfig(samples=3, size=SIZE, pass_size=3, **changed.pop("pssl", {}))
    names = root.parent / "classes.txt"
    names.write_text("\n".join(CLASSES))
    about: dict[str, Any] = {"layout": "imagefolder", "classes": names, "workers": 0}
    tuning = Tuning(shard_size=4, batch=3, **changed.pop("tuning", {}))
    return MakePSSLLabels(root=str(root), models=models, out=str(out), pssl=pssl, tuning=tuning, **(about | changed))


def test_every_poison_picture_has_its_reason_and_the_rest_their_labels(models: Path, tmp_path: Path) -> None:
    files = poison()
    root, out = folder(tmp_path / "in", {name: data for name, (data, _) in files.items()}), tmp_path / "out"
    assert main(config(root, models, out)) == 0
    expected = {name.rpartition(".")[0]: reason for name, (_, reason) in files.items()}
    assert {row["id"]: row["reason"] for row in rows(out, "rejected")} == {i: r for i, r in expected.items() if r}
    found = rows(out)
    assert {row["id"] for row in found} == {i for i, reason in expected.items() if not reason}
    for row in found:
        deciles = unpacked(row["deciles"], row["height"], row["width"])
        assert deciles.shape == (SIZE, SIZE) and 0.05 < (deciles == 9).mean() <= 0.1 + 1 / deciles.size
        assert CLASSES[row["class"]] == row["id"].partition("/")[0] and row["samples"] == 3
        assert row["image"] in {data for data, _ in files.values()}
    assert problems(out) == []


def test_a_rotated_picture_is_labelled_as_its_pixels_lie() -> None:
    """It is not turned by its EXIF note: training reads it as it lies."""
    files = poison()
    plain, turned = (decoded(Picture(files[f"cat/{name}.jpg"][0], 0, name), SIZE) for name in ("plain", "rotated"))
    np.testing.assert_array_equal(plain, turned)


def layouts(tmp_path: Path, files: dict[str, bytes]) -> dict[str, Path]:
    """The same pictures in all layouts."""
    for kind in ("tar", "parquet"):
        (tmp_path / kind).mkdir()
    with tarfile.open(tmp_path / "tar" / "some.tar", "w") as tar:
        for name, data in files.items():
            for entry, content in ((name, data), (f"{name[:-4]}.cls", str(CLASSES.index(name[:3])).encode())):
                info = tarfile.TarInfo(entry)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    table = pa.table(
        {"image": [{"bytes": data, "path": name} for name, data in files.items()], "label": [n[:3] for n in files]}
    )
    pq.write_table(table, tmp_path / "parquet" / "part.parquet", row_group_size=2)
    return {"imagefolder": folder(tmp_path / "imagefolder", files), **{k: tmp_path / k for k in ("tar", "parquet")}}


def test_every_layout_gives_the_same_pictures_and_classes(models: Path, tmp_path: Path) -> None:
    files = {f"{CLASSES[i % 3]}/{i}.jpg": encoded(noise(i)) for i in range(5)}
    found = {}
    for layout, root in layouts(tmp_path, files).items():
        out = tmp_path / f"out-{layout}"
        assert main(config(root, models, out, layout=layout)) == 0 and problems(out) == []
        found[layout] = sorted((row["image"], row["class"]) for row in rows(out))
    assert found["imagefolder"] == found["tar"] == found["parquet"] and len(found["tar"]) == 5


def test_the_same_command_again_does_nothing_and_another_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "in", {f"cat/{i}.jpg": encoded(noise(i)) for i in range(3)})
    out = tmp_path / "out"
    assert main(config(root, models, out)) == 0
    before = snapshot(out)
    assert main(config(root, models, out)) == 0 and snapshot(out) == before
    assert main(config(root, models, out, pssl={"sigma": 0.2})) == 2
    assert "pssl.sigma was 0.1 and is now 0.2" in capsys.readouterr().err
    (root / "cat/1.jpg").write_bytes(encoded(noise(7)) + b"\0")
    assert main(config(root, models, out)) == 2
    assert "cat/1" in capsys.readouterr().err and snapshot(out) == before


def test_a_lost_shard_is_made_again_byte_for_byte(models: Path, tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {f"cat/{i}.jpg": encoded(noise(i)) for i in range(6)})
    out = tmp_path / "out"
    assert main(config(root, models, out)) == 0
    before = {name: data for name, (data, _) in snapshot(out).items() if "labels" in name}
    (out / "labels/shard-00000.parquet").unlink()
    other = config(root, models, out, tuning={"keep_images": True})
    assert main(other) == 0
    assert {name: data for name, (data, _) in snapshot(out).items() if "labels" in name} == before


def test_labels_do_not_depend_on_how_many_are_made_at_a_time(models: Path, tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {f"dog/{i}.jpg": encoded(noise(i)) for i in range(4)})
    one = config(root, models, tmp_path / "one")
    assert main(one) == 0
    assert main(replace(one, out=str(tmp_path / "two"), tuning=Tuning(shard_size=4, batch=1))) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two") != []


def digests(out: Path) -> list[bytes]:
    """Of all label rows: NaN is not equal to itself."""
    return [shards.row_digest(row, shards.PSSL_SCHEMA) for row in rows(out)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": ""}, "1000 outputs for 3 classes"),
        ({"classes": "short.txt"}, "names 2 classes; model-1 has 1000 outputs"),
        ({"classes": "strange.txt"}, "knows 3 of the classes not, 'cat' the first"),
        ({"arch": "timm:no_such_net"}, "unknown timm model 'no_such_net'"),
        ({"arch": "keras:vgg"}, "arch is timm:NAME, torchvision:NAME, fastseg:classify or onnx"),
        ({"weights": "2.txt"}, "its name must end in"),
        ({"arch": "torchvision:mobilenet_v2"}, "its tensors are not those of torchvision:mobilenet_v2"),
        ({"sizes": 3}, "a classifier has"),
        ({"size": "224"}, "size must be int"),
        ({"std": [1, 0, 1]}, "std must be three numbers"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_in_one_sentence(
    changed: dict[str, Any], said: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "in", {"cat/1.jpg": encoded(noise(1))})
    (models.parent / "short.txt").write_text("a\nb")
    (models.parent / "strange.txt").write_text("\n".join(f"strange-{i}" for i in range(1000)))
    (models.parent / "2.txt").write_text("no weights")
    listed = json.loads(models.read_text())
    changed_list = models.parent / "changed.json"
    changed_list.write_text(json.dumps([listed[0] | changed, listed[1]]))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    words = ["--layout", "imagefolder", "--root", root, "--models", changed_list, "--out", tmp_path / "out"]
    words += ["--workers", "0", "--classes", tmp_path / "classes.txt", "--pssl.size", SIZE]
    try:
        code = cli([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.glob("out/labels/*"))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("class", 3, "class of 'cat/0' must lie in 0..2; got 3"),
        ("deciles", b"\x99" * (SIZE * SIZE // 2), "too many pixels rank too high"),
        ("deciles", b"\x00" * (SIZE * SIZE // 2), "too many pixels rank too high"),
        ("deciles", b"\xaa" * (SIZE * SIZE // 2), "must lie in 0..9; got 10"),
        ("deciles", b"\x00", "take 512 bytes; got 1"),
        ("right", 1.5, "right of 1 rows must lie in 0..1"),
    ],
)
def test_verify_names_a_row_that_no_run_makes(column: str, value: Any, said: str, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(config(folder(tmp_path / "in", {"cat/0.jpg": encoded(noise(0))}), models, out)) == 0
    path = out / "labels/shard-00000.parquet"
    (row,) = shards.read_rows(path)
    with shards.ShardWriter(path, shards.read_metadata(path), shards.PSSL_SCHEMA) as writer:
        writer.add(row | {column: value})
        writer.commit()
    found = problems(out)
    assert any(said in problem for problem in found), found


@pytest.mark.slow
def test_ray_actors_keep_the_networks_and_make_the_same_labels(ray_log: Path, models: Path, tmp_path: Path) -> None:
    files = {f"{CLASSES[i % 3]}/{i}.jpg": encoded(noise(i)) for i in range(9)} | {"cat/x.jpg": b"no picture"}
    one = config(folder(tmp_path / "in", files), models, tmp_path / "one")
    assert main(one) == 0
    assert main(replace(one, out=str(tmp_path / "two"), workers=2, tuning=replace(one.tuning, worker_mb=500))) == 0
    assert problems(tmp_path / "two") == []
    assert digests(tmp_path / "one") == digests(tmp_path / "two") and len(rows(tmp_path / "two", "rejected")) == 1


@pytest.mark.slow
def test_classifiers_that_no_worker_can_open_end_the_run_before_its_first_shard(
    ray_log: Path, models: Path, tmp_path: Path
) -> None:
    listed = json.loads(models.read_text())
    broken = models.parent / "broken.json"
    broken.write_text(json.dumps([listed[0] | {"classes": ""}]))
    one = config(folder(tmp_path / "in", {"cat/0.jpg": encoded(noise(0))}), broken, tmp_path / "out", workers=1)
    with pytest.raises(ValueError, match="1000 outputs for 3 classes"):
        main(replace(one, tuning=replace(one.tuning, worker_mb=500)))
    assert not list(tmp_path.glob("out/labels/*.parquet"))
