"""The pages of `fastseg structure`: maps beside what was made of them, and regions beside the nearest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseg.checkpoint import load
from fastseg.data.augment import resized
from fastseg.data.label_maps import open_labels
from fastseg.evaluate import check_classes_agree
from fastseg.frames import LabelledImages
from fastseg.pictures import IGNORE_COLOUR, Picture, class_palette, label_picture
from fastseg.report import Markup, note, picture, section, swatch, tag
from fastseg.structure_looks import Looker, Seen
from fastseg.structure_regions import CELL, Region, Regions, query

if TYPE_CHECKING:
    from fastseg.structure import Structure

NEAREST = 2  # shown of each query, as the paper does


def looked_at(config: Structure) -> tuple[str, list[Markup]]:
    """The page's title and its sections. ValueError: a checkpoint of another kind, or of other classes."""
    found = load(config.source, state=True)
    looker = Looker(found)
    examples = _opened(config, config.split)
    check_classes_agree(found, examples)
    names = found.record.classes
    palette = class_palette(len(names))
    key = section("Classes", tag("p", *_key(names, palette), class_="legend"))
    if config.command == "pictures":
        return f"label structure of {config.source.name}", [*_pictures(config, looker, examples, palette), key]
    queries = _opened(config, config.queries)
    check_classes_agree(found, queries)
    title = f"nearest regions by {'label' if looker.of_labels else 'image'}"
    return title, [*_nearest(config, looker, queries, examples, palette), key]


def _opened(config: Structure, split: str) -> LabelledImages:
    assert config.data is not None, "Structure asks for it"
    return open_labels(config.data, config.root, split)


def _key(names: tuple[str, ...], palette: Picture) -> list[Markup]:
    shown = [tag("span", swatch(colour), f" {name} ") for name, colour in zip(names, palette, strict=True)]
    return [*shown, tag("span", swatch(IGNORE_COLOUR), " void ")]


def _pictures(config: Structure, looker: Looker, examples: LabelledImages, palette: Picture) -> list[Markup]:
    """A row for each map: the image where the network reads it, the truth, what was told, and where it is wrong."""
    rows = []
    for index in spread(len(examples), config.count):
        image, label = examples[index]
        seen = looker(image, label)
        first = [] if looker.of_labels else [picture(_image(image, seen), "image", kind="jpeg")]
        figures = [*first, picture(label_picture(seen.label, palette), "truth")]
        for name, told in seen.told.items():
            shown = np.where(seen.label == 255, np.uint8(255), told)
            right = float((told == seen.label)[seen.label != 255].mean()) if (seen.label != 255).any() else 1.0
            figures.append(picture(label_picture(shown, palette), f"{name}: {right:.1%} of the labelled pixels"))
        rows.append(section(examples.ids()[index], tag("div", *figures, class_="grid thirds")))
    return rows


def _nearest(
    config: Structure, looker: Looker, queries: LabelledImages, examples: LabelledImages, palette: Picture
) -> list[Markup]:
    """A row for each region: where it is, and the two nearest regions of other maps."""
    indices = spread(len(examples), config.most)
    seen = [looker(*examples[index]) for index in indices]
    regions, names = Regions(seen), examples.ids()
    rows = [note("A circle marks the region. Alike: the cosine of the two bottlenecks, 1 = the same direction.")]
    for number, index in enumerate(spread(len(queries), config.count)):
        image, label = queries[index]
        own = looker(image, label)
        asked = query(own, np.random.default_rng((config.seed, number)))
        if asked is None:
            continue
        found = regions.nearest(own.bottleneck[:, asked.row, asked.column], NEAREST)
        shown = [(image, own, asked, f"query: {queries.ids()[index]}")]
        for region in found:
            at = indices[region.at]
            shown.append((examples[at][0], seen[region.at], region, f"{names[at]}, alike {region.alike:.3f}"))
        rows.append(section(f"Region {number + 1}", *_grids(shown, looker.of_labels, palette)))
    return rows


def _grids(shown: list[tuple[Picture, Seen, Region, str]], of_labels: bool, palette: Picture) -> list[Markup]:
    """The regions on their label maps; where the network reads images on these, and on the label maps below."""
    labels = [
        _shown(label_picture(seen.label, palette), here, said if of_labels else "truth")
        for _, seen, here, said in shown
    ]
    images = [] if of_labels else [_shown(_image(image, seen), here, said) for image, seen, here, said in shown]
    return [tag("div", *each, class_="grid thirds") for each in (images, labels) if each]


def _shown(shown: Picture, region: Region, caption: str) -> Markup:
    from fastseg.charts import svg

    height, width = shown.shape[:2]
    x, y = (region.column + 0.5) * CELL, (region.row + 0.5) * CELL
    style: dict[str, object] = {"fill": "none", "stroke_width": 1}
    rings = [tag("circle", cx=x, cy=y, stroke=colour, r=r, **style) for colour, r in (("#000", 9.5), ("#fff", 8.5))]
    return picture(shown, caption, over=svg(width, height, *rings, class_="over"))


def _image(image: Picture, seen: Seen) -> Picture:
    height, width = seen.label.shape
    return np.asarray(resized(image, (height, width)).permute(1, 2, 0).numpy())


def spread(have: int, count: int) -> list[int]:
    """At most `count` numbers below `have`, evenly spread."""
    found: list[int] = np.linspace(0, have - 1, min(have, count)).astype(int).tolist()
    return found
