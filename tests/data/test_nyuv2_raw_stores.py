from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fastseg.data import places
from fastseg.data.nyuv2_raw import NyuRaw
from fastseg.data.nyuv2_raw_stores import ZipScenes
from fastseg.frames import FrameError


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_an_archive_lists_what_its_folder_would(tmp_path: Path) -> None:
    members = {
        "den_0001/d-1.0-1.pgm": b"",
        "den_0001/INDEX.txt": b"d-2.0-1.pgm\n",
        "bath/d-1.0-1.pgm": b"",
        "x.txt": b"",
    }
    for name, data in members.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "zips").mkdir()
    path = packed(tmp_path / "zips" / "part1.zip", members)
    expected = ["bath/d-1.0-1", "den_0001/d-1.0-1", "den_0001/d-2.0-1"]
    for root in (tmp_path / "folder", tmp_path / "zips", path):
        assert NyuRaw(root).ids() == expected
    assert NyuRaw(path).inputs("bath/d-1.0-1") == [str(path)]


@pytest.mark.parametrize("name", ["folder", "part1.zip"])
def test_scenes_are_read_from_a_store(name: str) -> None:
    pytest.importorskip("upath", reason="universal_pathlib is not installed")
    store = places.place("memory://nyuv2-raw-test")
    members = {
        "a/d-1.0-1.pgm": b"one",
        "a/b/d-2.0-1.pgm": b"two",
        "a/r-1.0-1.ppm": b"",
        "a/INDEX.txt": b"d-1.0-1.pgm\n",
    }
    if name == "folder":
        for member, data in members.items():
            store.fs.pipe_file(f"{store.path}/folder/{member}", data)  # type: ignore[attr-defined]
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        store.fs.pipe_file(f"{store.path}/{name}", buffer.getvalue())  # type: ignore[attr-defined]
    try:
        source = NyuRaw(store / name)
        assert source.ids() == ["a/b/d-2.0-1", "a/d-1.0-1"]
        with pytest.raises(
            FrameError, match=r"^memory://nyuv2-raw-test/.*/a/d-1\.0-1\.pgm: expected a binary PGM"
        ) as caught:
            source.load("a/d-1.0-1")
        assert caught.value.reason == "decode"
        inside = "" if name.endswith("zip") else "/a/d-1.0-1.pgm"
        assert source.inputs("a/d-1.0-1")[0] == f"{store / name}{inside}"
    finally:
        store.fs.rm(store.path, recursive=True)  # type: ignore[attr-defined]


def test_a_scene_in_two_places_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "a.zip", {"den/d-1.0-1.pgm": b""})
    packed(tmp_path / "b.zip", {"den/d-2.0-1.pgm": b""})
    with pytest.raises(ValueError, match=r"den: this scene lies both in .*a\.zip and in .*b\.zip; keep one"):
        NyuRaw(tmp_path).ids()
    (tmp_path / "b.zip").unlink()
    (tmp_path / "den").mkdir()
    (tmp_path / "den" / "d-3.0-1.pgm").touch()
    with pytest.raises(ValueError, match="this scene lies both in"):
        NyuRaw(tmp_path).ids()


@pytest.mark.parametrize("name", ["../../evil/d-1.0-1.pgm", "/evil/d-1.0-1.pgm", "a//d-1.0-1.pgm", "a\n/d-1.0-1.pgm"])
def test_a_members_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    packed(tmp_path / "a.zip", {name: b"", "good/d-1.0-1.pgm": b""})
    with pytest.raises(FrameError) as caught:
        NyuRaw(tmp_path).ids()
    assert caught.value.reason == "id" and sorted(tmp_path.rglob("*")) == [tmp_path / "a.zip"]


def test_a_member_held_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/d-1.0-1.pgm", b"one")
        archive.writestr("a/d-1.0-1.pgm", b"two")
    with pytest.raises(FrameError, match=r"holds 'a/d-1\.0-1\.pgm' twice") as caught:
        NyuRaw(tmp_path).ids()
    assert caught.value.reason == "id"


def test_what_is_no_archive_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 not an archive")
    with pytest.raises(ValueError, match=r"a\.zip: expected a whole zip archive of scenes") as caught:
        NyuRaw(tmp_path).ids()
    assert "\n" not in str(caught.value)


def member_error(path: Path) -> str:
    scenes = ZipScenes(path)
    with pytest.raises(FrameError, match=r"a\.zip/a/d-1\.0-1\.pgm: ") as caught:
        scenes.read("a", "d-1.0-1.pgm")
    scenes.close()
    return caught.value.reason


def test_a_bomb_is_refused_by_its_entry_before_it_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a/d-1.0-1.pgm": bytes(2**26)})
    assert path.stat().st_size < 2**17 and member_error(path) == "too-large"


def test_an_entry_that_lies_about_its_size_is_not_unpacked_beyond_it(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a/d-1.0-1.pgm": bytes(2**27)})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)  # uncompressed size in the directory
    path.write_bytes(data)
    tracemalloc.start()
    assert member_error(path) == "decode"
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_in_a_member_is_seen(tmp_path: Path, compression: int) -> None:
    path = packed(tmp_path / "a.zip", {"a/d-1.0-1.pgm": os.urandom(5000)}, compression)
    data = bytearray(path.read_bytes())
    data[3000] ^= 16
    path.write_bytes(data)
    assert member_error(path) == "decode"


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(tmp_path: Path, compression: int) -> None:
    assert member_error(packed(tmp_path / "a.zip", {"a/d-1.0-1.pgm": bytes(5000)}, compression)) == "decode"


def test_an_encrypted_member_and_an_unknown_compression_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a/d-1.0-1.pgm": bytes(50)})
    good = path.read_bytes()
    for offsets, value in (((6, 8), 1), ((8, 10), 97)):  # flags; method, in the local header and in the directory
        data = bytearray(good)
        for at in (data.index(b"PK\3\4") + offsets[0], data.rindex(b"PK\1\2") + offsets[1]):
            data[at] = value
        path.write_bytes(data)
        assert member_error(path) == "decode"


def test_members_are_read_from_zip64_archives(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
        archive.open("a/d-1.0-1.pgm", "w", force_zip64=True) as out,
    ):
        out.write(b"pixels")
    scenes = ZipScenes(tmp_path / "a.zip")
    assert scenes.read("a", "d-1.0-1.pgm") == b"pixels"
    with pytest.raises(FrameError, match="there is none"):
        scenes.read("a", "d-2.0-1.pgm")
    scenes.close()
    assert scenes.names("a") == ["d-1.0-1.pgm"]  # opens it again
    scenes.close()


def test_an_archive_is_opened_anew_after_a_fork(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {f"a/d-{k}.0-1.pgm": bytes([k]) * 9000 for k in range(40)}, zipfile.ZIP_STORED)
    scenes = ZipScenes(path)
    scenes.names("a")
    child = os.fork()
    wrong = sum(scenes.read("a", f"d-{k}.0-1.pgm") != bytes([k]) * 9000 for _ in range(20) for k in range(40))
    if child == 0:
        os._exit(min(wrong, 1))
    assert os.waitpid(child, 0)[1] == 0 and wrong == 0
    scenes.close()
