from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_kits import check_geometry, walk

from fastseg.data.clip_plan import ClipPlan, relative, runs
from fastseg.data.clips import RecordedClips
from fastseg.data.rooms import look
from fastseg.frames import Camera, FrameError

CAMERA = Camera(30, 30, 15.5, 11.5, 24, 32)


class Drawn(RecordedClips):
    """Pictures of a pattern that moves by `steps` columns; poses for the ids in `posed`."""

    def __init__(self, plan: ClipPlan, counts: tuple[int, ...] = (5,), steps: int = 1, posed: str = "") -> None:
        self._steps, self._posed = steps, posed
        self.sizes: dict[str, tuple[int, int]] = {}
        names = [[f"{r}/{k}" for k in range(count)] for r, count in enumerate(counts)]
        super().__init__(Path("drawn"), names, plan)

    def picture(self, name: str) -> np.ndarray:
        height, width = self.sizes.get(name, (24, 32))
        columns = np.arange(width) + self._steps * int(name[2:])
        row = (127 + 100 * np.sin(columns / 3)).astype(np.uint8)
        return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()

    def camera(self, name: str, size: tuple[int, int]) -> Camera:
        return CAMERA

    def pose(self, name: str) -> np.ndarray | None:
        return look(np.array([0.1 * int(name[2:]), 0, 1]), 0.3, 0, 0) if name[0] in self._posed else None


def test_a_target_has_the_frames_around_it_and_no_recording_runs_into_the_next() -> None:
    clips = Drawn(ClipPlan(offsets=(-1, 2)), (5, 3, 4))
    assert clips.ids() == ["0/1", "0/2", "2/1"] and len(clips) == 3
    target, sources, camera, poses = clips.clip(1)
    np.testing.assert_array_equal(target, clips.picture("0/2"))
    np.testing.assert_array_equal(sources, [clips.picture("0/1"), clips.picture("0/4")])
    assert camera == CAMERA and poses is None


def test_poses_map_points_of_the_target_into_each_source() -> None:
    frames = walk().left
    for source in (frames[1], frames[3]):
        pose = relative(frames[2].pose, source.pose)
        np.testing.assert_allclose(source.pose @ pose, frames[2].pose, atol=1e-12)
        check_geometry(
            frames[2].color, source.color[None], source.camera, pose[None].astype(np.float32), frames[2].depth
        )


def test_poses_are_given_where_known_left_out_when_learned_and_asked_for_when_needed() -> None:
    known = Drawn(ClipPlan(), posed="0").clip(0)[3]
    assert known is not None and known.shape == (2, 4, 4) and known.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(known[:, :3, 3], axis=1), 0.1, rtol=1e-5)
    assert Drawn(ClipPlan(poses="learned"), posed="0").clip(0)[3] is None
    with pytest.raises(ValueError, match="0/1: expected a camera-to-world pose for each frame") as caught:
        Drawn(ClipPlan(poses="needed"))
    assert "\n" not in str(caught.value)
    half = Drawn(ClipPlan(poses="needed"), (3, 3), posed="0")
    with pytest.raises(FrameError, match="1/1: expected a camera-to-world pose") as missing:
        half.clip(1)
    assert missing.value.reason == "missing"


def test_source_frames_in_another_town_are_refused() -> None:
    class Jumping(Drawn):
        def pose(self, name: str) -> np.ndarray | None:
            return look(np.array([0, 0, 1e300 if name == "0/2" else 0]), 0.3, 0, 0)

    with pytest.raises(FrameError, match="0/1: expected source frames within 10000 m of their target"):
        Jumping(ClipPlan()).clip(0)


def test_fewer_than_three_frames_are_no_clip() -> None:
    with pytest.raises(ValueError, match=r"expected a recording of 3 frames or more.*-1, 1; the longest has 2"):
        Drawn(ClipPlan(), (2, 1))
    single = Drawn(ClipPlan(offsets=()), (2, 1))
    assert len(single) == 3 and single.clip(0)[1].shape == (0, 24, 32, 3) and single.clip(0)[3] is None


def test_frames_of_mixed_sizes_are_refused_naming_both() -> None:
    clips = Drawn(ClipPlan())
    clips.sizes["0/2"] = (24, 40)
    with pytest.raises(
        FrameError, match=r"0/1: expected the frames of a clip to be of one size, 32x24; got 40x24 \(0/2"
    ):
        clips.clip(0)


def test_a_source_of_one_camera_has_no_pairs() -> None:
    with pytest.raises(ValueError, match="expected stereo pairs; this source has one camera"):
        Drawn(ClipPlan(offsets=(), stereo=True))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"offsets": (0, 1)}, "offsets must be"), ({"offsets": (1, 1)}, "each once"), ({"offsets": (99,)}, "from 1 to 60"),
     ({"offsets": (-2, -1, 1, 2), "stereo": True}, "at most 4 sources; got 5"), ({"poses": "given"}, "poses must be"),
     ({"stereo": True, "poses": "learned"}, "stereo clips have a known pose")],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ClipPlan(**values)  # type: ignore[arg-type]


def test_static_frames_are_left_out() -> None:
    class Halting(Drawn):
        def picture(self, name: str) -> np.ndarray:
            place = {"0": min(int(name[2:]), 3), "1": int(name[2:])}[name[0]]  # recording 0 stops at frame 3
            return super().picture(f"0/{place}")

    clips = Halting(ClipPlan(), (8, 4))
    read: list[str] = []
    clips.picture = lambda name: (read.append(name), Halting.picture(clips, name))[1]  # type: ignore[method-assign]
    moving = clips.moving()
    assert len(read) == len(set(read)) == 12
    assert moving.ids() == ["0/1", "0/2", "0/3", "1/1", "1/2"] and len(clips) == 8
    np.testing.assert_array_equal(moving.clip(3)[0], clips.clip(6)[0])
    with pytest.raises(ValueError, match="the camera stands still in all"):
        Drawn(ClipPlan(), steps=0).moving()
    with pytest.raises(ValueError, match="needs source frames"):
        Drawn(ClipPlan(offsets=())).moving()


def test_recordings_end_where_a_number_or_a_frame_in_time_is_missing() -> None:
    assert runs(["a", "b", "c", "d"], [3, 4, 6, 7]) == [["a", "b"], ["c", "d"]]
    times = [0.0, 0.1, 0.2, 0.41, 0.5]
    assert runs(list("abcde"), list(range(5)), times) == [["a", "b", "c"], ["d", "e"]]
    assert runs(["a"], [0], [1.0]) == [["a"]] and runs([], []) == []
