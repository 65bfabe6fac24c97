from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastseg.data.nyuv2_raw import NyuRaw
from fastseg.data.nyuv2_raw_scenes import Recording
from fastseg.data.nyuv2_raw_stores import FolderScenes
from fastseg.frames import FrameError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def recording(tmp_path: Path, *names: str) -> Recording:
    return Recording(FolderScenes(touch(tmp_path / "a", *names).parent), "a")


def test_the_nearest_colour_and_accelerometer_record_belong_to_a_depth_image(tmp_path: Path) -> None:
    one = recording(
        tmp_path, "d-10.000000-1.pgm", "d-10.033000-2.pgm", "r-9.990000-3.ppm", "r-10.030000-4.ppm",
        "r-9.700000-5.ppm", "a-10.001000-6.dump", "a-10.029000-7.dump",
    )  # fmt: skip
    assert one.color("d-10.000000-1.pgm") == ("r-9.990000-3.ppm", pytest.approx(0.010))
    assert one.color("d-10.033000-2.pgm") == ("r-10.030000-4.ppm", pytest.approx(0.003))
    assert one.accelerometer("d-10.000000-1.pgm")[0] == "a-10.001000-6.dump"
    assert one.accelerometer("d-10.033000-2.pgm")[0] == "a-10.029000-7.dump"


def test_one_colour_image_may_serve_two_depth_images(tmp_path: Path) -> None:
    one = recording(tmp_path, "d-1.00-1.pgm", "d-1.03-2.pgm", "r-1.01-3.ppm")
    assert one.color("d-1.00-1.pgm")[0] == one.color("d-1.03-2.pgm")[0] == "r-1.01-3.ppm"


def test_of_two_as_near_the_later_is_taken_as_the_toolbox_does(tmp_path: Path) -> None:
    one = recording(tmp_path, "d-2.5-1.pgm", "r-2.25-9.ppm", "r-2.75-2.ppm", "r-2.75-3.ppm")
    assert one.color("d-2.5-1.pgm") == ("r-2.75-3.ppm", 0.25)


def test_times_are_numbers_and_not_texts(tmp_path: Path) -> None:
    one = recording(tmp_path, "d-1000.5-1.pgm", "r-999.9-2.ppm", "r-1000.4-3.ppm", "r-bad-4.ppm", "r--1-5.ppm")
    assert one.color("d-1000.5-1.pgm")[0] == "r-1000.4-3.ppm"


def test_a_scene_without_colour_has_none(tmp_path: Path) -> None:
    assert recording(tmp_path, "d-1.0-1.pgm").color("d-1.0-1.pgm") == (None, float("inf"))


def test_the_index_adds_what_is_missing_and_forgets_nothing(tmp_path: Path) -> None:
    folder = touch(tmp_path / "a", "d-3.0-1.pgm", "d-1.0-1.pgm", "r-1.0-1.ppm")
    lines = ["d-2.0-1.pgm", "", "  d-1.0-1.pgm \r", "r-7.0-1.ppm", "d-2.0-1.pgm", "d-1.0-1.pgm", "INDEX.txt", "x", "d-"]
    (folder / "INDEX.txt").write_text("\n".join(lines))
    assert NyuRaw(tmp_path).ids() == ["a/d-1.0-1", "a/d-2.0-1", "a/d-3.0-1"]
    one = Recording(FolderScenes(tmp_path), "a")
    assert one.color("d-2.0-1.pgm")[0] == "r-1.0-1.ppm"  # colour that is not there cannot belong to anything
    with pytest.raises(FrameError, match=r"d-2\.0-1\.pgm: INDEX\.txt lists it; there is no such file") as caught:
        NyuRaw(tmp_path, max_difference_s=9).load("a/d-2.0-1")
    assert caught.value.reason == "missing"


def test_scenes_lie_at_any_depth_and_other_files_are_none(tmp_path: Path) -> None:
    touch(tmp_path / "part 1" / "den_0001", "d-1.0-1.pgm", "d-1.0-1.pgm.part", "d-1.0-1.ppm", "e-1.0-1.pgm", "d-.PGM")
    touch(tmp_path, "d-5.0-1.pgm", "README.txt")
    touch(tmp_path / ".hidden", "d-1.0-1.pgm")
    touch(tmp_path / "part 1" / "den_0001" / "more", "d-9.0-1.pgm")
    source = NyuRaw(tmp_path)
    assert source.ids() == ["d-5.0-1", "part 1/den_0001/d-1.0-1", "part 1/den_0001/more/d-9.0-1"]
    assert [source.scene(frame_id) for frame_id in source.ids()] == ["", "part 1/den_0001", "part 1/den_0001/more"]


@pytest.mark.parametrize("line", ["../../etc/d-1.0-1.pgm", "/d-1.0-1.pgm", "x\\d-1.0-1.pgm", "d-/../1.pgm"])
def test_a_path_in_the_index_is_refused(tmp_path: Path, line: str) -> None:
    (touch(tmp_path / "a", "d-1.0-1.pgm") / "INDEX.txt").write_text(f"d-1.0-1.pgm\n{line}\n")
    with pytest.raises(FrameError, match=r"INDEX\.txt: expected names of files beside it") as caught:
        NyuRaw(tmp_path).ids()
    assert caught.value.reason == "id"


@pytest.mark.parametrize("name", ["d-1\x00.pgm", "d-1\x1b[31m.pgm", "d-" + "1" * 300 + ".pgm", "D-1.0-1.pgm"])
def test_odd_names_in_the_index_are_refused_or_no_frames(tmp_path: Path, name: str) -> None:
    (touch(tmp_path / "a", "d-1.0-1.pgm") / "INDEX.txt").write_text(f"{name}\n")
    if name.startswith("D"):
        assert NyuRaw(tmp_path).ids() == ["a/d-1.0-1"]
        return
    with pytest.raises(FrameError) as caught:
        NyuRaw(tmp_path).ids()
    assert caught.value.reason == "id"


def test_an_index_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (touch(tmp_path / "a", "d-1.0-1.pgm") / "INDEX.txt").write_bytes(b"\xff\xfe\x00d")
    with pytest.raises(FrameError, match=r"INDEX\.txt: expected file names, one a line") as caught:
        NyuRaw(tmp_path).ids()
    assert caught.value.reason == "decode" and "\n" not in str(caught.value)


def test_a_depth_image_without_a_time_is_rejected_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "a", "d-<script>.pgm", "r-1.0-1.ppm")
    source = NyuRaw(tmp_path)
    assert source.ids() == ["a/d-<script>"]
    with pytest.raises(FrameError, match="expected a name such as d-") as caught:
        source.load("a/d-<script>")
    assert caught.value.reason == "id"
    assert source.inputs("a/d-<script>") == [str(tmp_path / "a" / "d-<script>.pgm")]


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.pgm").touch()
    os.symlink(tmp_path / "secret.pgm", touch(tmp_path / "root" / "a", "d-1.0-1.pgm") / "d-2.0-1.pgm")
    with pytest.raises(FrameError, match="a link to a folder or out of") as caught:
        NyuRaw(tmp_path / "root").ids()
    assert caught.value.reason == "id"


@pytest.mark.parametrize(
    "name", ["../a/d-1.0-1", "a/../a/d-1.0-1", "/a/d-1.0-1", "a//d-1.0-1", "a/d-9.0-1", "b/d-1.0-1"]
)
def test_an_id_that_is_none_of_the_sources_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "a", "d-1.0-1.pgm")
    with pytest.raises(FrameError) as caught:
        NyuRaw(tmp_path).load(name)
    assert caught.value.reason in ("id", "missing")


def test_a_folder_that_holds_none_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no frames; expected d-\*\.pgm in scene folders, or zip archives"):
        NyuRaw(tmp_path).ids()
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        NyuRaw(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        NyuRaw(tmp_path / "none.zip")
