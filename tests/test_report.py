from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from fastseg.charts import Curve, curves, histogram, pyramid, scatter, ticks, up_arrow
from fastseg.frames import Camera
from fastseg.pictures import (
    IGNORE_COLOUR,
    class_palette,
    depth_picture,
    hn_palette,
    label_picture,
    normals_picture,
    oklch,
    overlay,
    resized,
)
from fastseg.report import POLICY, Markup, escaped, page, picture, table, tag

HOSTILE = "<script>document.title='owned'</script>\"' onload=x \x00\u202e"


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(name)
        self.attributes += attributes


def elements(text: str) -> Elements:
    found = Elements()
    found.feed(text)
    return found


def test_a_hostile_name_stays_text_in_elements_and_attributes() -> None:
    found = elements(tag("p", HOSTILE, title=HOSTILE, aria_label=HOSTILE))
    assert found.names == ["p"]
    assert [name for name, _ in found.attributes] == ["title", "aria-label"]


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "a & b")) == "<p><b>a &amp; b</b></p>"
    assert isinstance(tag("p"), Markup)


def test_characters_that_cannot_be_shown_are_written_out() -> None:
    assert escaped("a\x00b\u202e") == "a\\x00b\\u202e"
    assert escaped("\udcff") == "\\udcff"


def test_the_page_forbids_scripts_and_outside_resources() -> None:
    text = page(HOSTILE, table([HOSTILE], [[HOSTILE]], numeric=(0,)))
    found = elements(text)
    assert ("content", POLICY) in found.attributes
    assert not {"script", "link", "iframe", "object"} & set(found.names)
    assert not re.search(r"https?://", text)


def test_a_picture_comes_back_from_its_data_uri() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    data = re.search(r'src="data:image/png;base64,([^"]+)"', picture(pixels, "noise"))
    assert data is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1])))), pixels)


def test_oklch_meets_known_colours() -> None:
    # Ottosson's OKLab of white, black and sRGB red (0.62796, 0.22486, 0.12585) -> chroma 0.25768, hue 29.23 degrees
    assert oklch(1.0, 0.0, 0.0).tolist() == [255, 255, 255]
    assert oklch(0.0, 0.0, 0.0).tolist() == [0, 0, 0]
    assert np.abs(oklch(0.62796, 0.25768, 29.2339).astype(int) - (255, 0, 0)).max() <= 1


def test_the_labels_palette_gets_lighter_with_height_and_differs_by_normal_bin() -> None:
    palette = hn_palette(10, 2).astype(float)
    light = palette @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light[:10]) > 0).all() and (np.diff(light[10:]) > 0).all()
    gaps = np.linalg.norm(palette[:, None] - palette[None], axis=-1)[~np.eye(20, dtype=bool)]
    assert gaps.min() > 10


def test_palettes_hold_one_colour_a_class() -> None:
    for n_height, n_normal in ((10, 1), (5, 2), (10, 3)):
        assert len({tuple(c) for c in hn_palette(n_height, n_normal).tolist()}) == n_height * n_normal
    assert len({tuple(c) for c in class_palette(40).tolist()}) == 40


def test_ignored_and_missing_pixels_are_grey() -> None:
    label = np.array([[0, 255], [1, 2]], np.uint8)
    assert label_picture(label, class_palette(2))[0, 1].tolist() == list(IGNORE_COLOUR)
    assert label_picture(label, class_palette(2))[1, 1].tolist() == list(IGNORE_COLOUR)
    depth = depth_picture(np.array([[1.0, np.nan, 0.0, 3.0]]))
    assert depth[0, 1].tolist() == depth[0, 2].tolist() == list(IGNORE_COLOUR)
    assert depth[0, 0].sum() > depth[0, 3].sum()
    assert depth_picture(np.zeros((2, 2)))[1, 1].tolist() == list(IGNORE_COLOUR)


def test_a_wall_that_faces_the_camera_is_blue_and_a_floor_green() -> None:
    normals = np.full((3, 1, 3), np.nan)
    normals[:, 0, 0], normals[:, 0, 1] = (0, 0, -1), (0, -1, 0)
    colours = normals_picture(normals)[0]
    assert colours[0].argmax() == 2 and colours[1].argmax() == 1
    assert colours[2].tolist() == list(IGNORE_COLOUR)


def test_an_overlay_keeps_the_pictures_size_and_labels_resize_without_new_values() -> None:
    image = np.full((6, 8, 3), 100, np.uint8)
    assert overlay(image, image).tolist() == image.tolist()
    label = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), (9, 11))
    assert set(np.unique(resized(label, 5, 6, smooth=False))) <= {0, 7, 255}


def test_a_histogram_counts_every_finite_value() -> None:
    drawing = histogram([1.0, 2.0, 2.0, np.nan], "tilt", "°")
    assert sum(int(n) for n in re.findall(r"<title>(\d+) from", drawing)) == 3
    assert "median 2.00°" in drawing
    assert "no values" in histogram([np.nan], "tilt")
    assert "median 4.00" in histogram([4.0, 4.0], "tilt")


def test_the_pyramid_names_every_share() -> None:
    shares = np.array([[0.5, 0.25], [0.25, 0.0]])
    drawing = pyramid(shares, hn_palette(2, 2).reshape(2, 2, 3), ["flat", "steep"], ["low", "high"])
    assert drawing.count("<rect") == 4 and "50.0 %" in drawing and "steep" in drawing


def test_curves_stay_inside_their_axes() -> None:
    points = np.array([[0.0, 3.0], [10.0, 1.0], [20.0, 2.0]])
    drawing = curves([Curve(HOSTILE, "red", points), Curve("b", "blue", points[:0])], "loss", "step", "loss")
    xy = np.array([pair.split(",") for pair in re.findall(r'points="([^"]+)"', drawing)[0].split()], float)
    assert xy.min(axis=0).tolist() == [48.0, 66.0] and xy[:, 0].max() == 544.0 and xy[:, 1].max() <= 262.0
    assert "script" not in elements(drawing).names
    assert "no values" in curves([], "loss", "step", "loss")


def test_axes_have_round_numbers_and_one_point_is_a_dot() -> None:
    assert ticks(10, 400) == [50, 100, 150, 200, 250, 300, 350, 400]
    assert ticks(0.5, 1.5) == [0.5, 0.75, 1, 1.25, 1.5] and np.allclose(ticks(-0.3, 0.31), np.arange(-3, 4) / 10)
    for low, high in np.random.default_rng(0).normal(0, 1e3, (200, 2)):
        found = np.array(ticks(min(low, high), max(low, high)))
        assert 4 <= len(found) <= 9 and min(low, high) <= found[0] and found[-1] <= max(low, high)
    once = curves(
        [Curve("a", "red", np.array([[100.0, 0.0]])), Curve("b", "blue", np.array([[100.0, 17.4]]))], "", "", ""
    )
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', once)
    assert dots == [("296.0", "262.0"), ("296.0", "66.0")] and once.count(">100<") == 1
    spread = curves([Curve("a", "red", np.array([[1.0, 2.0]]), spread=np.array([1.0]))], "", "", "")
    assert 'x1="296.0" y1="66.0" x2="296.0" y2="196.7"' in spread
    zero = curves([Curve("a", "red", np.array([[0.0, 0.0], [1.0, 0.0]]))], "", "", "")
    assert re.findall(r'points="([^"]+)"', zero) == ["48.0,262.0 544.0,262.0"]


def test_the_up_arrow_points_up_and_the_horizon_of_a_level_camera_is_its_middle() -> None:
    drawing = up_arrow(np.array([0.0, -1.0, 0.0]), 48, 64, Camera(60.0, 60.0, 31.5, 23.5, 48, 64))
    horizon, shaft = (dict(re.findall(r'(\w+)="([-\d.]+)"', line)) for line in re.findall(r"<line[^>]+>", drawing)[:2])
    assert horizon["y1"] == horizon["y2"] == "23.5"
    assert shaft["x1"] == shaft["x2"] == "32.0" and float(shaft["y2"]) < float(shaft["y1"])


def test_no_horizon_is_drawn_where_there_is_none() -> None:
    camera = Camera(60.0, 60.0, 31.5, 23.5, 48, 64)
    down = up_arrow(np.array([0.0, -0.2, -0.98]), 48, 64, camera)
    assert "stroke-dasharray" not in down and "stroke-dasharray" not in up_arrow(np.array([0, -1.0, 0]), 48, 64)


def test_a_scatter_has_a_circle_a_point_within_its_axes_and_one_in_the_legend() -> None:
    clouds = [Curve(f"way {k}", "#123456", np.array([[50.0 + k, 20.0], [60.0, 30.0 - k]])) for k in range(8)]
    found = str(scatter(clouds, "mIoU against accuracy", "accuracy %", "mIoU %"))
    circles = np.array(re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', found), float)
    assert len(circles) == 8 * 3
    inside = circles.reshape(8, 3, 2)[:, 1:].reshape(-1, 2)
    assert inside[:, 0].min() > 48 and inside[:, 0].max() < 544
    assert inside[:, 1].min() > 66 + 15 and inside[:, 1].max() < 262 + 15
    assert 'viewBox="0 0 560 315"' in found and "no values" in scatter([], "t", "x", "y")
