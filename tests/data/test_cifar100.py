from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fastseg.data import cifar100
from fastseg.data.cifar100 import RECORD, Cifar100

NAMES = "".join(f"thing_{number}\n" for number in range(100))


def records(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Records in the published form, the fine class rising from 0."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 256, (count, RECORD), dtype=np.uint8)
    found[:, 0], found[:, 1] = np.arange(count) % 20, np.arange(count) % 100
    return found


def folder(root: Path, train: int = 7, test: int = 3) -> Path:
    inner = root / "cifar-100-binary"
    inner.mkdir(parents=True)
    (inner / "fine_label_names.txt").write_text(NAMES)
    (inner / "train.bin").write_bytes(records(train).tobytes())
    (inner / "test.bin").write_bytes(records(test, 1).tobytes())
    return root


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    return path


def published(path: Path) -> Path:
    inner = "cifar-100-binary/"
    return archive(path, {
        f"{inner}train.bin": records(7).tobytes(), f"{inner}fine_label_names.txt": NAMES.encode(),
        f"{inner}test.bin": records(3, 1).tobytes(),
    })  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "inner", "archive"])
def test_the_published_layout_gives_images_and_their_fine_class(tmp_path: Path, kind: str) -> None:
    root = published(tmp_path / "cifar-100-binary.tar.gz") if kind == "archive" else folder(tmp_path)
    found = Cifar100(root / "cifar-100-binary" if kind == "inner" else root, "train")
    assert len(found) == 7 and found.ids()[6] == "train/00006" and found.class_names[99] == "thing_99"
    image, label = found[4]
    record = records(7)[4]
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8 and label.shape == () and int(label) == 4
    assert image[3, 5].tolist() == [record[2 + plane * 1024 + 3 * 32 + 5] for plane in range(3)]
    assert len(Cifar100(root, "test")) == 3


@pytest.mark.parametrize("packed", [False, True])
def test_the_python_version_is_refused_unread(tmp_path: Path, packed: bool) -> None:
    files = dict.fromkeys(("cifar-100-python/meta", "cifar-100-python/train", "cifar-100-python/test"), b"\x80\x04.")
    root = archive(tmp_path / "c.tar.gz", files) if packed else tmp_path
    if not packed:
        (tmp_path / "cifar-100-python").mkdir()
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is CIFAR-100's version for Python, a pickle.*expected the binary version"):
        Cifar100(root, "train")


def _cut(root: Path) -> None:
    path = root / "cifar-100-binary" / "train.bin"
    path.write_bytes(path.read_bytes()[:-1])


def _beyond(root: Path) -> None:
    path = root / "cifar-100-binary" / "train.bin"
    found = records(7)
    found[2, 1] = 100
    path.write_bytes(found.tobytes())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_cut, r"records of 3074 bytes; got 21517 bytes"),
        (_beyond, r"record 2: the fine class is 100"),
        (lambda root: (root / "cifar-100-binary/train.bin").write_bytes(b""), "got 0 bytes"),
        (lambda root: (root / "cifar-100-binary/train.bin").unlink(), r"train\.bin: expected the binary version"),
        (lambda root: (root / "cifar-100-binary/fine_label_names.txt").unlink(), "expected the binary version"),
        (lambda root: (root / "cifar-100-binary/fine_label_names.txt").write_text("one\n"), "100 fine classes.*got 1"),
    ],
)
def test_what_is_damaged_or_missing_is_one_sentence(tmp_path: Path, spoil: object, sentence: str) -> None:
    root = folder(tmp_path)
    spoil(root)  # type: ignore[operator]
    with pytest.raises((ValueError, OSError), match=sentence) as caught:
        Cifar100(root, "train")
    assert "\n" not in str(caught.value)


def test_a_damaged_or_foreign_archive_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = published(tmp_path / "whole.tar.gz").read_bytes()
    cases = {
        "cut.tar.gz": (whole[: len(whole) // 2], "truncated, or no such archive"),
        "text.tar.gz": (b"hello", "truncated, or no such archive"),
        "gz.tar.gz": (gzip.compress(b"hello" * 1000), "truncated, or no such archive|holds no"),
    }
    for name, (content, sentence) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises((ValueError, OSError), match=sentence):
            Cifar100(tmp_path / name, "train")
    with pytest.raises(FileNotFoundError, match=r"holds no train\.bin"):
        Cifar100(archive(tmp_path / "few.tar.gz", {"a/fine_label_names.txt": NAMES.encode()}), "train")
    with pytest.raises(FileNotFoundError, match="expected the binary version"):
        Cifar100(tmp_path / "nowhere.tar.gz", "train")
    with pytest.raises(ValueError, match="must be train or test; got 'val'"):
        Cifar100(tmp_path, "val")
    monkeypatch.setattr(cifar100, "MAX_BYTES", 20_000)
    (tmp_path / "small.tar.gz").write_bytes(gzip.compress(gzip.decompress(published(tmp_path / "p").read_bytes())))
    with pytest.raises(ValueError, match=r"expected at most|holds more than that does"):
        Cifar100(tmp_path / "small.tar.gz", "train")
