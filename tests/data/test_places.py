from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from fastseg.data.places import forget, is_local, place, present, read_whole, size_of, tag_of, walk_files
from fastseg.frames import FrameError


@pytest.fixture
def memory() -> Iterator[UPath]:
    """An empty folder of the in-memory store, removed afterwards: it is one for the whole process."""
    root = UPath("memory://places-test")
    root.mkdir(parents=True, exist_ok=True)
    yield root
    root.fs.rm(root.path, recursive=True)


def fill(root: Path) -> None:
    for name in ("a.png", "b/c.png", "b/d e/f.png", ".hidden.png", "b/.git/x.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def test_a_local_place_is_absolute_with_its_links_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    for text in ("link", Path("link"), f"file://{tmp_path}/link"):
        assert place(text) == tmp_path / "real" and is_local(place(text))


def test_a_store_keeps_its_slashes_and_is_a_path_in_all_but_name(memory: UPath) -> None:
    root = place("memory://places-test")
    assert str(root / "x") == "memory://places-test/x" and not is_local(root)
    (root / "x").write_bytes(b"123")
    assert (root / "x").stat().st_size == 3 and place(root) == root


@pytest.mark.parametrize("text", ["nosuch://a", "s3:/bucket/x", "memory:/x", "zip://a::s3://b/c", "a\0b"])
def test_what_is_no_place_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        place(text)
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value)


def test_a_store_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError, match=r"install fastseg\[gcs\]"):
        place("gs://bucket/x")


def test_the_same_files_are_found_in_a_folder_and_in_a_store(tmp_path: Path, memory: UPath) -> None:
    for root in (tmp_path, place("memory://places-test")):
        fill(root)
        found = dict(walk_files(root))
        assert sorted(found) == ["a.png", "b/c.png", "b/d e/f.png"]
        assert found["b/c.png"] == str(root / "b/c.png")
        assert {read_whole(name) for name in found.values()} == {b"12345"}
        assert {size_of(name) for name in found.values()} == {5}


def test_links_out_of_the_root_or_to_folders_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root)
    (root / "in.png").symlink_to(root / "a.png")
    assert "in.png" in dict(walk_files(root))
    for target in (tmp_path / "outside.png", root / "b"):
        (root / "link").symlink_to(target)
        with pytest.raises(FrameError, match="link") as caught:
            list(walk_files(root))
        assert caught.value.reason == "id"
        (root / "link").unlink()


@pytest.mark.parametrize("name", ["none", "memory://places-test/none"])
def test_a_file_that_is_not_there_is_an_error_that_names_it(name: str, memory: UPath) -> None:
    for ask in (size_of, read_whole):
        with pytest.raises(OSError) as caught:
            ask(name)
        assert str(caught.value.filename) == name and caught.value.strerror


def test_a_store_tells_when_a_file_changed(memory: UPath) -> None:
    (memory / "x").write_bytes(b"1")
    before = tag_of("memory://places-test/x")
    (memory / "x").write_bytes(b"2")
    assert before != tag_of("memory://places-test/x") and before
    assert tag_of(os.devnull) == ""


def test_a_listing_answers_for_its_files_until_the_folder_is_opened_anew(memory: UPath) -> None:
    root = place("memory://places-test")
    fill(root)
    assert len(list(walk_files(root))) == 3
    root.fs.store.clear()  # type: ignore[attr-defined]
    assert present(root / "a.png") and size_of("memory://places-test/a.png") == 5
    assert not present(root / "new.png")
    forget(root)
    assert not present(root / "a.png")
    fill(root)
    assert present(root / "a.png")


def test_a_local_place_needs_no_library_of_stores() -> None:
    code = "import sys; from fastseg.data.places import place; place('x'); print('fsspec' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    printed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"
