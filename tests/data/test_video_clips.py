from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_kits import walk

from fastseg.data.augment import NOTHING
from fastseg.data.batches import Recipe, batches
from fastseg.data.clip_plan import ClipPlan
from fastseg.data.film import Film, indexed
from fastseg.data.unlabelled import ClipImages
from fastseg.data.video_clips import VideoClips
from fastseg.frames import FrameError

av: Any = pytest.importorskip("av", reason="videos need PyAV")
FRAMES = 30
CODECS = [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")]


def frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A gradient whose mean says which frame it is."""
    ramp = np.linspace(0, 20, width)[None, :, None] + 7 * number
    return np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)


def write(
    path: Path, codec: str = "libx264", times: list[int] | None = None, frames: int = FRAMES, width: int = 64
) -> Path:
    """A video of `frame(0)`, `frame(1)`, ..., one each 40 ms or at `times`, key frames every ten."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = width, 48, "yuv420p", 10
        stream.codec_context.time_base = Fraction(1, 25)
        for k in range(frames):
            picture = av.VideoFrame.from_ndarray(frame(k, width=width), format="rgb24")
            picture.pts, picture.time_base = times[k] if times else k, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path


def number_of(picture: np.ndarray) -> int:
    return round((float(picture.mean()) - 10) / 7)


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_frames_come_by_number_in_any_order(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, codec)
    index = indexed(path)
    assert len(index.times) == FRAMES and index.size == (48, 64)
    order = [5, 6, 29, 0, 13, 12, 20, 21, 3, 28]
    with Film(path) as film:
        assert [number_of(film.frame(index, k)) for k in order] == order


def test_a_video_is_clips_with_the_camera_beside_it(tmp_path: Path) -> None:
    about = asdict(walk().camera.resized(48, 64))
    (tmp_path / "intrinsics.json").write_text(json.dumps(about))
    clips = VideoClips(write(tmp_path / "a.mp4"), ClipPlan(offsets=(-3, 3)))
    assert clips.ids()[0] == "a.mp4/000003" and len(clips) == FRAMES - 6
    for index in (10, 11, 2):
        target, sources, camera, poses = clips.clip(index)
        assert [number_of(picture) for picture in (target, *sources)] == [index + 3, index, index + 6]
        assert camera is not None and camera.width == 64 and poses is None
    again = pickle.loads(pickle.dumps(clips))
    np.testing.assert_array_equal(again.clip(7)[1], clips.clip(7)[1])


@pytest.mark.torch
def test_forked_workers_read_a_video_that_was_read_before(tmp_path: Path) -> None:
    clips = VideoClips(write(tmp_path / "a.mp4"), intrinsics="50,50,32,24")
    for index in (20, 3):
        clips.clip(index)
    recipe = Recipe((48, 64), 2, 0, NOTHING, clips="frames")
    alone, shared = (batches(ClipImages(clips), recipe, 0, 6, workers, timeout_s=60) for workers in (0, 2))
    for one, other in zip(alone, shared, strict=True):
        assert one.ids == other.ids and one.sources is not None and other.sources is not None
        np.testing.assert_array_equal(one.sources, other.sources)


def test_a_folder_of_videos_is_a_recording_each(tmp_path: Path) -> None:
    for name in ("b2.mp4", "b10.mkv"):
        write(tmp_path / name, frames=5)
    clips = VideoClips(tmp_path, intrinsics="learn")
    assert [name[:-7] for name in clips.ids()] == ["b2.mp4"] * 3 + ["b10.mkv"] * 3
    assert clips.clip(4)[2] is None and number_of(clips.clip(4)[0]) == 2
    write(tmp_path / "c.mp4", frames=5, width=80)
    with pytest.raises(FrameError, match=r"c\.mp4: video must be 64x48 as the first one, b2\.mp4; got 80x48"):
        VideoClips(tmp_path, intrinsics="learn")


def test_a_video_without_a_camera_names_the_three_ways(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"intrinsics\.json: the camera is not known.*fx,fy,cx,cy.*learn"):
        VideoClips(write(tmp_path / "a.mp4", frames=3))
    with pytest.raises(FrameError, match="focal lengths"):
        VideoClips(tmp_path / "a.mp4", intrinsics="1,1,1,1")


def test_a_telephones_video_is_turned_as_players_show_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=3)
    data = path.read_bytes()
    upright = b"".join(value.to_bytes(4, "big") for value in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    a_quarter = b"".join((value % 2**32).to_bytes(4, "big") for value in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    at = data.index(upright, data.index(b"tkhd"))  # the track's matrix: x' = -y, y' = x, clockwise
    path.write_bytes(data[:at] + a_quarter + data[at + 36 :])
    target = VideoClips(path, intrinsics="learn").clip(0)[0]
    assert target.shape == (64, 48, 3)
    assert np.abs(target.astype(int) - np.rot90(frame(1), -1)).max() < 8


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.75])
def test_a_video_that_is_cut_off_is_refused_in_one_sentence(tmp_path: Path, kept: float) -> None:
    for name in ("a.mp4", "a.mkv"):
        data = write(tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(kept * len(data))])
        with pytest.raises(ValueError, match=rf"{name}: expected a (whole |constant |video)") as caught:
            indexed(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_corrupt_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.mp4").read_bytes())
    begin, end = data.index(b"mdat"), data.index(b"moov")
    third = (end - begin) // 3
    data[begin + third : begin + 2 * third] = bytes(third)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.mp4: expected a whole video"):
        VideoClips(tmp_path / "a.mp4", intrinsics="learn")


def test_a_varying_rate_is_refused_naming_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", times=[*range(10), *range(20, 40)])
    with pytest.raises(ValueError, match=r"expected a constant frame rate; it varies from 2\.27 to 25 a second"):
        VideoClips(path, intrinsics="learn")


def test_what_is_no_video_is_refused_and_no_playlist_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "a.ts", frames=5)
    for text in ("hello", "#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile a.ts\n"):
        (tmp_path / "b.mp4").write_text(text)
        with pytest.raises(ValueError, match=r"b\.mp4: expected a video that can be decoded"):
            indexed(tmp_path / "b.mp4")
    (tmp_path / "none").mkdir()
    for place in (tmp_path / "none", tmp_path / "c.mp4"):
        with pytest.raises(FileNotFoundError, match="expected a video file, or a folder of them"):
            VideoClips(place, intrinsics="learn")
    with pytest.raises(ValueError, match="expected a video on this machine"):
        VideoClips("memory://videos/a.mp4", intrinsics="learn")


def test_two_frames_are_no_clip_and_a_changed_file_is_a_bad_frame(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a recording of 3 frames or more"):
        VideoClips(write(tmp_path / "a.mp4", frames=2), intrinsics="learn")
    clips = VideoClips(write(tmp_path / "a.mp4"), intrinsics="learn")
    write(tmp_path / "a.mp4", frames=3)
    with pytest.raises(FrameError, match=r"a\.mp4: frame \d+ cannot be decoded; has the file changed") as caught:
        clips.clip(20)
    assert caught.value.reason == "decode"
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(FrameError, match="expected a video that can be decoded"):
        pickle.loads(pickle.dumps(clips)).clip(0)
