"""L12 for the readers of recordings: hostile names are refused when they are listed, or stay text."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_kits import write
from test_fuzz_recordings import KITS
from test_names import KEPT, LINKS, REFUSED
from test_nyuv2_raw_fuzz import kit as raw_kit

from fastseg.frames import FrameError

# Where another depth file of each reader lies, by the part of its name that is free.
WALKED = {
    "redwood": "depth/{}.png", "sunrgbd": "kv1/{}/depth/x.png",
    "cityscapes": "disparity/val/ulm/{}_disparity.png", "kitti lidar": "d/proj_depth/groundtruth/image_02/{}.png",
    "kitti stereo": "t/disp_occ_0/{}_10.png", "scannet sens": "{}.sens", "scannet exported": "a/depth/{}.png",
}  # fmt: skip
MADE = {name: make() for name, make in KITS.items()}


def another(name: str, root: Path, label: str) -> Path:
    """A second depth file of that label in the data set."""
    path = root / WALKED[name].format(label)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MADE[name].files[MADE[name].depth])
    return path


def refusal(name: str, root: Path) -> str:
    with pytest.raises(FrameError) as caught:
        MADE[name].open(root).ids()
    assert caught.value.reason == "id" and str(caught.value).isprintable(), str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("label", REFUSED)
@pytest.mark.parametrize("name", WALKED)
def test_names_that_are_no_text_of_one_line_are_refused(name: str, label: str, tmp_path: Path) -> None:
    root = write(tmp_path, MADE[name].files)
    another(name, root, REFUSED[label])
    refusal(name, root)


@pytest.mark.parametrize("name", WALKED)
def test_odd_names_are_text(name: str, tmp_path: Path) -> None:
    root = write(tmp_path, MADE[name].files)
    before = len(MADE[name].open(root).ids())
    for label in KEPT:
        another(name, root, label)
    found = MADE[name].open(root).ids()
    assert len(found) == before + len(KEPT) and all(any(label in one for one in found) for label in KEPT)


@pytest.mark.parametrize("name", WALKED)
def test_case_twins_are_refused(name: str, tmp_path: Path) -> None:
    root = write(tmp_path, MADE[name].files)
    another(name, root, "Twin")
    another(name, root, "twin")
    assert "unique" in refusal(name, root)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", WALKED)
def test_links_out_of_the_root_are_refused_when_they_are_listed(name: str, link: str, tmp_path: Path) -> None:
    root, away = write(tmp_path / "root", MADE[name].files), tmp_path / "away"
    away.mkdir()
    (away / "secret").write_text("secret")
    path = root / WALKED[name].format("x")
    path.parent.mkdir(parents=True, exist_ok=True)
    LINKS[link](path.parent, away)
    for made in path.parent.glob("*x-link.depth.png"):
        made.rename(path)
    assert "secret" not in refusal(name, root).replace(str(away / "secret"), "")


@pytest.mark.parametrize("file", [(name, file) for name in WALKED for file in sorted(MADE[name].files)], ids=str)
def test_no_file_of_a_data_set_may_lie_outside_of_it(file: tuple[str, str], tmp_path: Path) -> None:
    """The very bytes that would be right, behind a link: a data set could read what lies elsewhere on the disk."""
    kit = MADE[file[0]]
    root = write(tmp_path / "root", kit.files)
    (root / file[1]).rename(tmp_path / "away")
    (root / file[1]).symlink_to(tmp_path / "away")
    with pytest.raises(FrameError) as caught:
        source = kit.open(root)
        source.ids()
        source.load(kit.frame)
    assert caught.value.reason == "id"


@pytest.mark.parametrize("frame_id", ["../a", "/a", "a\0", "a\nb", "", ".", "x" * 256, "a/../../b", "nyu/../x"])
@pytest.mark.parametrize("name", [*WALKED, "nyuv2-raw"])
def test_no_id_leads_a_reader_astray(name: str, frame_id: str, tmp_path: Path) -> None:
    kit = raw_kit() if name == "nyuv2-raw" else MADE[name]
    source = kit.open(write(tmp_path, kit.files))
    for ask in (source.load, source.inputs):
        with pytest.raises(FrameError) as caught:
            ask(frame_id)
        assert caught.value.reason in ("id", "missing")
