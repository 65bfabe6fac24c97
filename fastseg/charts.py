"""Inline SVG charts for the report pages: histograms, curves, the label pyramid, and the up arrow over a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera
from fastseg.report import STYLE, Markup, hex_colour, tag


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name, a CSS colour, points (N, 2) of x and y, and a band of +- spread (N,) around it."""

    name: str
    colour: str
    points: npt.NDArray[np.floating]
    dashed: bool = False
    spread: npt.NDArray[np.floating] | None = None

    def band(self) -> npt.NDArray[np.float64]:
        """The band's outline (2 N, 2), along its top and back along its bottom; the line itself where there is none."""
        if self.spread is None:
            return np.asarray(self.points, np.float64)
        up = np.stack([np.zeros(len(self.points)), self.spread], 1)
        return np.concatenate([self.points + up, (self.points - up)[::-1]])


def svg(width: float, height: float, *children: object, class_: str = "chart", label: str = "") -> Markup:
    """An SVG drawing of width x height user units."""
    return tag("svg", *children, viewBox=f"0 0 {width:g} {height:g}", class_=class_, role="img", aria_label=label)


def _text(x: float, y: float, content: object, class_: str = "") -> Markup:
    return tag("text", content, x=f"{x:.1f}", y=f"{y:.1f}", class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", **attributes)


def _box(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> Markup:
    inner = [tag("title", title)] if title else []
    return tag(
        "rect", *inner, x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=f"{height:.1f}", fill=fill, rx=2
    )


def histogram(values: npt.ArrayLike, title: str, unit: str = "", most: int = 24) -> Markup:
    """A histogram of the finite values with their range and median, at most `most` bars; 300 x 150 units."""
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if data.size == 0:
        return svg(300, 150, _text(4, 14, title, "head"), _text(150, 80, "no values", "mid"), label=title)
    low, high, bins = float(data.min()), float(data.max()), int(np.clip(np.sqrt(data.size) * 2, 6, most))
    counts, edges = np.histogram(data, bins=bins, range=(low, high) if high > low else (low - 0.5, high + 0.5))
    step, tallest = 292 / bins, max(int(counts.max()), 1)
    bars = [
        _box(
            4 + k * step,
            124 - 88 * n / tallest,
            step - 1.5,
            88 * n / tallest,
            "var(--two)",
            f"{n} from {left:.4g} to {right:.4g}",
        )
        for k, (n, left, right) in enumerate(zip(counts, edges[:-1], edges[1:], strict=True))
        if n
    ]
    median = float(np.median(data))
    at = 4 + 292 * (median - edges[0]) / (edges[-1] - edges[0])
    marks = [
        _text(4, 14, title, "head"),
        _text(296, 14, f"median {_rounded(median, edges)}{unit}", "end"),
        _line(4, 124.5, 296, 124.5, class_="axis"),
        _line(at, 30, at, 124, stroke="var(--one)", stroke_width=1.5, stroke_dasharray="3 3"),
        _text(4, 140, _rounded(edges[0], edges) + unit),
        _text(296, 140, _rounded(edges[-1], edges) + unit, "end"),
    ]
    return svg(300, 150, *bars, *marks, label=f"histogram: {title}")


def _rounded(value: float, edges: npt.NDArray[np.floating]) -> str:
    """The value with as many decimals as tell a hundredth of the axis."""
    decimals = int(np.clip(np.ceil(1.7 - np.log10(edges[-1] - edges[0])), 0, 6))
    return f"{value:.{decimals}f}"


def pyramid(
    shares: npt.NDArray[np.floating], colours: npt.NDArray[np.uint8], panels: Sequence[str], rows: Sequence[str]
) -> Markup:
    """Horizontal bars by height bin, the floor at the bottom, one panel a normal bin.

    shares (n_normal, n_height) in [0, 1], colours (n_normal, n_height, 3).
    """
    n_normal, n_height = shares.shape
    left, gap, each, pitch = 96.0, 70.0, 560.0 / n_normal, 21.0
    bottom = 30 + pitch * n_height
    scale = (each - gap) / max(float(shares.max()), 1e-9)
    parts = [_text(left - 10, bottom - pitch * h - 7, name, "end") for h, name in enumerate(rows)]
    for k, name in enumerate(panels):
        x = left + each * k
        parts.append(_text(x, 16, name, "head"))
        parts.append(_line(x, 26, x, bottom, class_="axis"))
        for h in range(n_height):
            top, share = bottom - pitch * (h + 1) + 3, float(shares[k, h])
            parts.append(
                _box(x, top, max(scale * share, 0.5), pitch - 5, hex_colour(colours[k, h]), f"label {k * n_height + h}")
            )
            parts.append(_text(x + scale * share + 6, top + 12, f"{100 * share:.1f} %"))
    return svg(left + 560, bottom + 6, *parts, label="share of pixels by height and surface angle")


def curves(lines: Sequence[Curve], title: str, x_name: str, y_name: str) -> Markup:
    """A line chart of the curves with axes over their joint range and a legend; 560 x 300 units, taller for many.

    A curve of one point is a dot, and its band a line through it.
    """
    kept = [c for c in lines if len(c.points)]
    if not kept:
        return svg(560, 300, _text(4, 16, title, "head"), _text(280, 150, "no values", "mid"), label=title)
    joint = np.concatenate([c.band() for c in kept]).astype(np.float64)
    low, high = np.array([joint[:, 0].min(), min(joint[:, 1].min(), 0.0)]), joint.max(0)
    flat = high <= low
    low, high = low - flat * np.array([0.5, 0.0]), high + flat * np.array([0.5, 1.0])
    bottom = 262 + _legend_below(len(kept))
    parts = _axes(low, high, bottom, title, x_name, y_name)

    def placed(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        return np.asarray((48.0, bottom) + (points - low) / (high - low) * (496.0, -196.0), np.float64)

    for curve in kept:
        if curve.spread is not None:
            outline = _points(placed(curve.band()))
            parts.append(tag("polygon", points=outline, fill=curve.colour, opacity=0.15, stroke="none"))
    for k, curve in enumerate(kept):
        style, at = _stroke(curve), placed(curve.points)
        parts.append(tag("polyline", points=_points(at), **style))
        if len(at) == 1:  # its band is a line
            (x, top), (_, foot) = placed(curve.band())[[0, -1]]
            parts.append(_line(x, top, x, foot, stroke=curve.colour, stroke_width=2, opacity=0.4))
            parts.append(tag("circle", cx=f"{x:.1f}", cy=f"{at[0, 1]:.1f}", r=4, fill=curve.colour))
        x, y = 48 + 165 * (k % 3), 34 + 15 * (k // 3)
        parts += [_line(x, y, x + 18, y, **style), _text(x + 24, y + 4, curve.name)]
    return svg(560, bottom + 38, *parts, label=title)


def scatter(clouds: Sequence[Curve], title: str, x_name: str, y_name: str) -> Markup:
    """A chart of the curves' points alone, a circle each, axes over their joint range; 560 x 300 units or taller."""
    kept = [cloud for cloud in clouds if len(cloud.points)]
    if not kept:
        return svg(560, 300, _text(4, 16, title, "head"), _text(280, 150, "no values", "mid"), label=title)
    joint = np.concatenate([cloud.points for cloud in kept])
    margin = np.maximum(0.06 * (joint.max(0) - joint.min(0)), 1e-3)
    low, high = joint.min(0) - margin, joint.max(0) + margin
    bottom = 262 + _legend_below(len(kept))
    parts = _axes(low, high, bottom, title, x_name, y_name)
    for k, cloud in enumerate(kept):
        key = (52 + 165 * (k % 3), 34 + 15 * (k // 3))
        placed = np.array([48.0, bottom]) + (cloud.points - low) / (high - low) * np.array([496.0, -196.0])
        parts.append(_text(key[0] + 10, key[1] + 4, cloud.name))
        parts += [
            tag("circle", tag("title", cloud.name), cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill=cloud.colour, opacity=0.8)
            for x, y in (key, *placed)
        ]
    return svg(560, bottom + 38, *parts, label=title)


def _axes(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], bottom: float, title: str, x_name: str, y_name: str
) -> list[Markup]:
    """Title, names, and a number at each round value of x and y between `low` and `high`, with a line across for y."""
    parts = [_text(4, 16, title, "head"), _text(296, bottom + 34, x_name, "mid"), _text(544, 16, y_name, "end")]
    for y in ticks(low[1], high[1]):
        at = bottom - 196 * (y - low[1]) / (high[1] - low[1])
        parts += [_line(48, at, 544, at, class_="axis"), _text(42, at + 4, f"{y:.6g}", "end")]
    places = ((x, 48 + 496 * (x - low[0]) / (high[0] - low[0])) for x in ticks(low[0], high[0]))
    return parts + [_text(at, bottom + 16, f"{x:.6g}", "mid") for x, at in places]


def ticks(low: float, high: float) -> list[float]:
    """Two to nine round numbers from `low` to `high`, a 1, 2, 2.5 or 5 times a power of ten apart; low < high."""
    wanted = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(wanted))
    step = max(each * power for each in (1.0, 2.0, 2.5, 5.0) if each * power <= wanted * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 + step * place for place in range(first, last + 1)]


def _legend_below(names: int) -> float:
    """How much lower a chart begins for a legend of so many names, three in a row, two rows having room."""
    return 15.0 * max(0, (names - 1) // 3 - 1)


def _points(placed: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)


def _stroke(curve: Curve) -> dict[str, object]:
    dash = {"stroke_dasharray": "5 4"} if curve.dashed else {}
    return {"fill": "none", "stroke": curve.colour, "stroke_width": 2, "stroke_linejoin": "round", **dash}


def alone(chart: Markup) -> str:
    """The chart as an SVG file of its own, in the page's light colours on white."""
    colours = dict(re.findall(r"--(\w+):(#\w+)", STYLE.partition("}")[0]))
    text = re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], str(chart))
    style = (
        f"text{{font:12px sans-serif;fill:{colours['ink']}}}.head{{font-weight:600}}.mid{{text-anchor:middle}}"
        f".end{{text-anchor:end}}.axis{{stroke:{colours['line']}}}svg{{background:{colours['paper']}}}"
    )
    return (
        text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f"><style>{style}</style>", 1)
        + "\n"
    )


def up_arrow(up: npt.NDArray[np.floating], height: int, width: int, camera: Camera | None = None) -> Markup:
    """Up drawn over a picture of height x width: its projection from the picture's middle, and the horizon dashed.

    The horizon needs the camera: it is where rays are level, `up . ((u - cx) / fx, (v - cy) / fy, 1) = 0`.
    """
    middle, reach, stroke = np.array([width / 2, height / 2]), 0.36 * min(height, width), max(width / 110, 1.0)
    tip = middle + reach * np.asarray(up, np.float64)[:2]
    parts = [] if camera is None else _horizon(camera.resized(height, width), up, stroke)
    for colour, wide in (("#000", 2.2), ("#ffe14d", 1.0)):
        style: dict[str, object] = {
            "stroke": colour,
            "stroke_width": f"{stroke * wide:.1f}",
            "stroke_linecap": "round",
            "fill": "none",
        }
        parts.append(_line(middle[0], middle[1], tip[0], tip[1], **style))
        parts.append(tag("polyline", points=_arrow_head(middle, tip, 4.5 * stroke), **style))
        parts.append(tag("circle", cx=f"{middle[0]:.1f}", cy=f"{middle[1]:.1f}", r=f"{0.9 * stroke:.1f}", **style))
    return svg(width, height, *parts, class_="over", label="up arrow")


def _arrow_head(tail: npt.NDArray[np.float64], tip: npt.NDArray[np.float64], size: float) -> str:
    back = (tail - tip) / max(float(np.hypot(*(tail - tip))), 1e-9) * size
    across = 0.65 * np.array([-back[1], back[0]])
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip + back + across, tip, tip + back - across))


def _horizon(camera: Camera, up: npt.NDArray[np.floating], stroke: float) -> list[Markup]:
    a, b = float(up[0]) / camera.fx, float(up[1]) / camera.fy
    c = float(up[2]) - a * camera.cx - b * camera.cy
    if abs(b) < abs(a) or abs(b) < 1e-9:
        return []
    left, right = -c / b, -(a * camera.width + c) / b
    if max(left, right) < 0 or min(left, right) > camera.height:
        return []
    style: dict[str, object] = {
        "stroke": "#fff",
        "stroke_width": f"{0.6 * stroke:.1f}",
        "stroke_dasharray": "6 5",
        "opacity": 0.85,
    }
    return [_line(0, left, camera.width, right, **style)]
