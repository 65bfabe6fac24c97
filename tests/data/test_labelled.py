"""What every labelled set answers alike: the pixels and classes of its files, and one sentence for what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from labelled_kits import COLOR, HEIGHT, KITS, WIDTH, Kit, picture
from recorded import encoded, put

from fastseg.data.labelled import ClassMap, LabelledSet, metres, one_of
from fastseg.frames import FrameError


@pytest.fixture(params=KITS)
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


def refused(kit: Kit, root: Path, reason: str, named: str) -> str:
    """The sentence for id 0, which gives the reason and names the file."""
    images = kit.open(root)
    with pytest.raises(FrameError) as caught:
        images[0]
    said = str(caught.value)
    assert caught.value.reason == reason and Path(named).stem.removesuffix("_10") in said, said
    assert "\n" not in said and ("expected" in said or reason == "size")
    assert images[1][1].shape == kit.wanted.shape, "the other image is whole"
    return said


def test_images_and_labels_are_the_files_classes_and_255(kit: Kit, tmp_path: Path) -> None:
    images = kit.open(kit.write(tmp_path))
    assert len(images) == len(images.ids()) == len(set(images.ids())) == 2
    assert not kit.classes or len(set(images.class_names)) == kit.classes
    image, label = images[0]
    assert image.dtype == label.dtype == np.uint8 and image.shape == (*kit.wanted.shape, 3)
    np.testing.assert_array_equal(label, kit.wanted)
    if kit.colors[0].endswith(".png"):
        first = (HEIGHT - len(kit.wanted)) // 2
        np.testing.assert_array_equal(image, COLOR[first : first + len(kit.wanted)])


def test_a_set_goes_to_another_process(kit: Kit, tmp_path: Path) -> None:
    images = pickle.loads(pickle.dumps(kit.open(kit.write(tmp_path))))
    np.testing.assert_array_equal(images[1][1], kit.wanted)


def test_an_image_that_is_not_there_is_named(kit: Kit, tmp_path: Path) -> None:
    (kit.write(tmp_path) / kit.colors[0]).unlink()
    if kit.name == "sunrgbd" and not kit.files:
        assert len(kit.open(tmp_path)) == 1, "labels of the other split have no image either"
        return
    refused(kit, tmp_path, "missing", kit.colors[0])


def test_a_label_that_is_not_there_is_named(kit: Kit, tmp_path: Path) -> None:
    if kit.name in ("folder", "replica"):
        pytest.skip("its labels are the list")
    (kit.write(tmp_path) / kit.labels[0]).unlink()
    refused(kit, tmp_path, "missing", kit.colors[0] if kit.name == "sunrgbd" and not kit.files else kit.labels[0])


def test_a_label_of_another_size_is_named(kit: Kit, tmp_path: Path) -> None:
    put(kit.write(tmp_path) / kit.labels[0], kit.encode(kit.stored[:, 1:]))
    said = refused(kit, tmp_path, "size", kit.labels[0])
    assert f"{WIDTH}x{HEIGHT}" in said and f"{WIDTH - 1}x{HEIGHT}" in said


def test_a_value_without_a_class_is_named(kit: Kit, tmp_path: Path) -> None:
    stored = kit.stored.copy()
    stored[3, 4:9] = kit.beyond
    put(kit.write(tmp_path) / kit.labels[0], kit.encode(stored))
    assert str(kit.beyond) in refused(kit, tmp_path, "type", kit.labels[0])


def test_a_damaged_label_or_image_is_named(kit: Kit, tmp_path: Path) -> None:
    data = kit.encode(kit.stored)
    put(kit.write(tmp_path) / kit.labels[0], data[: len(data) // 2])
    refused(kit, tmp_path, "decode", kit.labels[0])
    put(tmp_path / kit.labels[0], data)
    put(tmp_path / kit.colors[0], picture(kit.colors[0])[:300])
    refused(kit, tmp_path, "decode", kit.colors[0])


def test_a_label_of_another_kind_is_named(kit: Kit, tmp_path: Path) -> None:
    kind = encoded(np.zeros((HEIGHT, WIDTH), np.uint16))  # 16 bits a pixel
    put(kit.write(tmp_path) / kit.labels[0], kind)
    refused(kit, tmp_path, "decode" if kit.labels[0].endswith(".mat") else "type", kit.labels[0])


def test_a_listed_image_is_in_the_set_even_when_it_is_gone(kit: Kit, tmp_path: Path) -> None:
    if kit.name in ("folder", "replica"):
        pytest.skip("its labels are the list")
    (kit.write(tmp_path) / kit.labels[1]).unlink()
    assert len(kit.open(tmp_path)) == 2


def test_a_map_takes_what_it_was_told_and_refuses_the_rest() -> None:
    classes = ClassMap.of({7: 0, 9: 1}, [0, 255], "labels 7 or 9")
    np.testing.assert_array_equal(
        classes.classes_of(np.array([[7, 9, 0, 255]], np.uint8), "f", "a"), [[0, 1, 255, 255]]
    )
    with pytest.raises(FrameError, match=r"f: expected labels 7 or 9; 'a' has 8 at 2 pixels"):
        classes.classes_of(np.array([[7, 8, 8]], np.uint8), "f", "a")
    assert ClassMap.from_one(2).table[:4].tolist() == [255, 0, 1, -1]
    assert ClassMap.counted(2, void=11).table[[0, 1, 2, 11, 255]].tolist() == [0, 1, -1, 255, -1]


def test_depth_without_a_measurement_is_zero_metres() -> None:
    depth = np.array([[0, -1, np.nan, np.inf, 2.5]], np.float32)
    np.testing.assert_array_equal(metres(depth), np.array([[0, 0, 0, 0, 2.5]], np.float32))
    found = metres(np.array([[0, 1500]], np.uint16), 0.001)
    assert found.dtype == np.float32 and found[0].tolist() == pytest.approx([0, 1.5])


def test_a_place_that_is_not_there_is_said_with_all_that_were_looked_at(tmp_path: Path) -> None:
    put(tmp_path / "b" / "x.txt", "")
    assert one_of(tmp_path, ["a/x.txt", "b/x.txt"], "x") == tmp_path / "b" / "x.txt"
    with pytest.raises(FileNotFoundError, match=r"expected the list at a\.txt or c/d\.txt; .* holds 'b'"):
        one_of(tmp_path, ["a.txt", "c/d.txt"], "the list")


def test_a_set_has_ids_in_the_order_of_its_indices() -> None:
    class Two(LabelledSet):
        def pair(self, name: str) -> tuple[np.ndarray, np.ndarray]:
            return np.full((1, 1, 3), int(name), np.uint8), np.full((1, 1), int(name), np.uint8)

    two = Two(["3", "7"], ("x",))
    assert [int(two[k][1][0, 0]) for k in range(2)] == [3, 7] and two.ids() == ["3", "7"]
    two.ids().append("8")
    assert len(two) == 2
