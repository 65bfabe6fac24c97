"""L12: hostile names are refused when the manifest is made, or stored as text; nothing is written outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_kits import made, write

from fastseg.data.shards import HNShards
from fastseg.data.sources import open_source
from fastseg.frames import FrameError
from pipelines.make_hn_labels import cli

READERS = {"folder png": "folder", "7scenes": "7scenes", "replica": "replica", "tum": "tum"}
WALKED = {"folder png": "depth/{}.png", "7scenes": "seq-01/frame-{}.depth.png", "replica": "depth/{}.png"}
REFUSED = {
    "newline": "a\nb", "carriage return": "a\rb", "escape": "a\x1b[2Jb", "backslash": "a\\b", "not UTF-8": "a\udcffb",
    "delete": "a\x7f", "right to left": "a\u202eb", "line separator": "a\u2028b",
}  # fmt: skip
KEPT = ("<script>alert(1)", "a b", "über", "$(touch x)", "'; drop table", "%2e%2e", "-rf", "x" * 200)


def root_of(name: str, folder: Path) -> Path:
    return write(folder / "root", made(name).files)


def ids(name: str, root: Path) -> list[str]:
    return open_source(READERS[name], root).ids()  # type: ignore[arg-type]


def refusal(name: str, root: Path) -> str:
    with pytest.raises(FrameError) as caught:
        ids(name, root)
    assert caught.value.reason == "id" and str(caught.value).isprintable(), str(caught.value)
    return str(caught.value)


def another(name: str, root: Path, label: str) -> Path:
    """A second depth file of that label in the frame's data set."""
    path = root / WALKED[name].format(label)
    path.write_bytes(made(name).files[made(name).depth])
    return path


@pytest.mark.parametrize("label", REFUSED)
@pytest.mark.parametrize("name", WALKED)
def test_names_that_are_no_text_of_one_line_are_refused(name: str, label: str, tmp_path: Path) -> None:
    root = root_of(name, tmp_path)
    another(name, root, REFUSED[label])
    refusal(name, root)


@pytest.mark.parametrize("name", WALKED)
def test_odd_names_are_text(name: str, tmp_path: Path) -> None:
    root = root_of(name, tmp_path)
    for label in KEPT:
        another(name, root, label)
    found = ids(name, root)
    assert len(found) == 1 + len(KEPT) and all(any(label in one for one in found) for label in KEPT)


@pytest.mark.parametrize("name", WALKED)
def test_a_name_of_255_bytes_is_a_frame_and_not_an_accident(name: str, tmp_path: Path) -> None:
    """The depth file's name is as long as a disk takes; the colour's and the pose's would be longer."""
    root = root_of(name, tmp_path)
    ending = len(Path(WALKED[name].format("")).name)
    long = another(name, root, "x" * (255 - ending))
    assert len(long.name) == 255
    source = open_source(READERS[name], root)  # type: ignore[arg-type]
    frame_id = next(one for one in source.ids() if "xxx" in one)
    with pytest.raises(FrameError) as caught:
        source.load(frame_id)
    assert caught.value.reason == "missing"
    assert str(long) in source.inputs(frame_id)


@pytest.mark.parametrize("name", WALKED)
def test_case_twins_and_duplicates_are_refused(name: str, tmp_path: Path) -> None:
    root = root_of(name, tmp_path)
    another(name, root, "Twin")
    another(name, root, "twin")
    assert "unique" in refusal(name, root)


def test_one_name_with_two_endings_is_refused(tmp_path: Path) -> None:
    root = root_of("folder png", tmp_path)
    (root / "depth" / "a.npy").write_bytes(b"")
    assert "unique" in refusal("folder png", root)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "file": lambda root, away: (root / "x-link.depth.png").symlink_to(away / "secret"),
    "folder": lambda root, away: (root / "x-link").symlink_to(away),
    "chain": lambda root, away: [  # type: ignore[func-returns-value]
        (root.parent / "hop").symlink_to(away / "secret"), (root / "frame-x.depth.png").symlink_to(root.parent / "hop")
    ][0],
}  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", WALKED)
def test_links_out_of_the_root_are_refused_when_they_are_listed(name: str, link: str, tmp_path: Path) -> None:
    root, away = root_of(name, tmp_path), tmp_path / "away"
    away.mkdir()
    (away / "secret").write_text("secret")
    LINKS[link]((root / WALKED[name].format("x")).parent, away)
    assert "secret" not in refusal(name, root).replace(str(away / "secret"), "")


BESIDE = {
    "folder png": ("intrinsics.json", "poses/a.txt", "depth", "color"), "replica": ("poses_estimated.txt",),
    "7scenes": ("camera-intrinsics.txt", "seq-01/frame-000000.pose.txt"),
    "tum": ("depth.txt", "rgb.txt", "groundtruth.txt", "depth/1.000.png", "rgb/1.001.png"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in BESIDE.items() for path in paths])
def test_files_beside_the_frames_may_not_lead_out_of_the_root(name: str, path: str, tmp_path: Path) -> None:
    """The very bytes that would be right, behind a link: a data set could read what lies elsewhere on the disk."""
    root = root_of(name, tmp_path)
    (root / path).rename(tmp_path / "away")
    (root / path).symlink_to(tmp_path / "away")
    with pytest.raises(FrameError) as caught:
        source = open_source(READERS[name], root)  # type: ignore[arg-type]
        source.ids()
        source.load(made(name).frame)
    assert caught.value.reason == "id"


@pytest.mark.parametrize(
    "listed", ["../a.png", "/etc/passwd", "a//b.png", "./a.png", "a\0b.png", "x" * 300 + ".png", ""]
)
def test_a_list_cannot_name_what_is_no_file_of_its_own(listed: str, tmp_path: Path) -> None:
    root = root_of("tum", tmp_path)
    with (root / "depth.txt").open("a") as file:
        file.write(f"2.000 {listed}\n")
    refusal("tum", root)


@pytest.mark.parametrize("listed", ["depth/1.000.png", "DEPTH/1.000.png"])
def test_a_list_cannot_name_a_file_twice(listed: str, tmp_path: Path) -> None:
    root = root_of("tum", tmp_path)
    with (root / "depth.txt").open("a") as file:
        file.write(f"2.000 {listed}\n")
    assert "unique" in refusal("tum", root)


@pytest.mark.parametrize("frame_id", ["../a", "/a", "a\0", "a\nb", "", ".", "x" * 256, "a/../../b", "nyu/../x"])
def test_no_id_leads_a_reader_astray(frame_id: str, tmp_path: Path) -> None:
    for name in (*READERS, "nyuv2"):
        source = open_source(READERS.get(name, name), root_of(name, tmp_path / name))  # type: ignore[arg-type]
        for ask in (source.load, source.inputs):
            with pytest.raises(FrameError) as caught:
                ask(frame_id)
            assert caught.value.reason in ("id", "missing")


def test_a_run_over_odd_names_writes_into_its_folder_alone(tmp_path: Path) -> None:
    root = root_of("folder png", tmp_path)
    kit = made("folder png")
    for label in KEPT:
        (root / "depth" / f"{label}.png").write_bytes(kit.files["depth/a.png"])
        (root / "color" / f"{label}.png").write_bytes(kit.files["color/a.png"])
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    here = set(os.listdir())
    out = tmp_path / "out"
    assert cli(["--reader", "folder", "--root", str(root), "--out", str(out), "--workers", "0"]) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before and set(os.listdir()) == here
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]
    shards = HNShards(out)
    assert sorted(shards.ids()) == sorted(["a", *KEPT])
