"""The same data sets in a folder, in the in-memory store and on an S3 server of the test's own give the same frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_kits import KITS, made, write
from upath import UPath

from fastseg.data import places
from fastseg.data.places import place
from fastseg.data.shards import HNShards
from fastseg.data.sources import open_source
from fastseg.frames import Frame, FrameError
from pipelines.make_hn_labels import cli

READERS = {"folder png": "folder", "7scenes": "7scenes", "tum": "tum", "nyuv2": "nyuv2", "replica": "replica"}


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty place in each kind of store."""
    root: Any = UPath("memory://stores-test" if request.param == "memory" else request.getfixturevalue("s3")) / "data"
    yield root
    if root.exists():
        root.fs.rm(root.path, recursive=True)
    root.fs.invalidate_cache()


def same(a: Frame, b: Frame) -> bool:
    poses = (a.pose is None) == (b.pose is None) and (a.pose is None or np.array_equal(a.pose, b.pose))
    rest = (a.id, a.depth_scale, a.camera, a.image) == (b.id, b.depth_scale, b.camera, b.image)
    return rest and poses and a.depth.dtype == b.depth.dtype and np.array_equal(a.depth, b.depth)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_reads_the_same_frames_from_a_folder_and_a_store(name: str, store: Path, tmp_path: Path) -> None:
    files = made(name).files
    here = open_source(READERS[name], write(tmp_path, files))  # type: ignore[arg-type]
    there = open_source(READERS[name], str(write(store, files)))  # type: ignore[arg-type]
    assert here.ids() == there.ids() == [made(name).frame]
    for frame_id in here.ids():
        assert same(here.load(frame_id), there.load(frame_id))
        names = there.inputs(frame_id)
        below = [path.removeprefix(f"{store}/") for path in names]
        assert below == [str(Path(path).relative_to(tmp_path)) for path in here.inputs(frame_id)]
        assert [places.size_of(path) for path in names] == [len(files[path]) for path in below]
        assert [places.read_whole(path) for path in names] == [files[path] for path in below]
        assert all(places.tag_of(path) for path in names)


def test_a_run_over_a_store_has_the_labels_of_the_folder(store: Path, tmp_path: Path) -> None:
    kit = made("folder png")
    roots = {"folder": str(write(tmp_path / "in", kit.files)), "store": str(write(store, kit.files))}
    rows = {}
    for name, root in roots.items():
        out = tmp_path / name
        assert cli(["--reader", "folder", "--root", root, "--out", str(out), "--workers", "0"]) == 0
        rows[name] = HNShards(out)[0]
        assert json.loads((out / "run.json").read_text())["config"]["root"] == root
    for here, there in zip(rows["folder"], rows["store"], strict=True):
        np.testing.assert_array_equal(here, there)


def test_a_wrong_place_says_what_was_looked_for(store: Path) -> None:
    write(store, {"there/a.txt": b"x"})
    for reader in ("folder", "7scenes", "tum", "nyuv2", "replica", "rooms"):
        with pytest.raises((FileNotFoundError, ValueError), match="expected") as caught:
            open_source(reader, str(store / "none")).ids()  # type: ignore[arg-type]
        assert "\n" not in str(caught.value) and "None" not in str(caught.value)


def test_a_file_that_vanished_is_missing(store: Path) -> None:
    kit = made("folder png")
    write(store, {name: data for name, data in kit.files.items() if name != "color/a.png"} | {"color/b.png": b""})
    source = open_source("folder", str(store))
    for frame_id in source.ids():
        with pytest.raises(FrameError) as caught:
            source.load(frame_id)
        assert caught.value.reason == "missing"


@pytest.mark.parametrize("key", ["../a", "x//b", "a\nb", "c/../d", "A", "x" * 300, "<script>", "./e"])
def test_keys_that_no_disk_would_hold_are_refused_or_stay_text(key: str, store: Path) -> None:
    kit = made("folder png")
    fs, top = store.fs, store.path  # type: ignore[attr-defined]
    write(store, kit.files)
    try:
        fs.pipe_file(f"{top}/depth/{key}.png", kit.files["depth/a.png"])
    except OSError:
        pytest.skip("this store does not take such a key")
    fs.invalidate_cache()
    source = open_source("folder", str(store))
    if key == "<script>":
        assert source.ids() == ["<script>", "a"]
    elif any(name.endswith(f"/depth/{key}.png") for name in fs.find(top)):
        with pytest.raises(FrameError) as caught:
            source.ids()
        assert caught.value.reason == "id"
    else:
        assert source.ids() == ["a"]  # the store took the dots for folders and put it elsewhere


def test_a_server_that_refuses_or_is_gone_is_one_sentence(s3: str) -> None:
    with pytest.raises(OSError) as caught:
        places.read_whole(f"{s3}/none.png")
    assert caught.value.filename == f"{s3}/none.png"
    closed = UPath(f"{s3}/x", endpoint_url="http://127.0.0.1:9", config_kwargs={"retries": {"max_attempts": 0}})
    with pytest.raises(OSError) as caught, places.answered(closed):  # type: ignore[arg-type]
        closed.stat()
    assert "\n" not in str(caught.value) and str(caught.value.filename) == f"{s3}/x"


def test_stores_are_named_as_given() -> None:
    assert str(place("s3://bucket/a b/ü") / "c.png") == "s3://bucket/a b/ü/c.png"
    assert set(READERS) <= set(KITS)
