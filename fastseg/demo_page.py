"""The demo's report page: scores, curves, and pictures of labels and predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastseg.charts import Curve, curves
from fastseg.checkpoint import Checkpoint, load
from fastseg.data.folder import FolderLabels
from fastseg.data.images import decode_color
from fastseg.data.shards import HNShards, label_of, replace_file
from fastseg.demo import STARTS, Results
from fastseg.demo_stages import ARMS, Demo
from fastseg.pictures import Picture, class_palette, hn_palette, label_picture
from fastseg.report import Markup, facts, note, page, picture, section, swatch, table, tag

COLOURS = {"scratch": "var(--two)", "hn": "var(--one)"}


def write_report(config: Demo, labelled: Path, results: Results, seconds: dict[str, float], lines: list[str]) -> None:
    """None; the page is OUT/report.html."""
    shards = HNShards(config.out / "labels")
    means = {arm: float(np.mean([result["miou"] for result in results[arm]])) for arm in ARMS}
    tiles = [
        ("mIoU from random weights", f"{means['scratch']:.1%}"),
        ("mIoU from HN pre-training", f"{means['hn']:.1%}"),
        ("frames labelled by depth", f"{len(shards)}"),
        ("labelled images", f"{config.labelled}"),
        ("minutes in all", f"{sum(seconds.values()) / 60:.1f}"),
    ]
    text = page(
        "fastseg demo",
        tag("h1", "Labels from depth: a few-shot demonstration"),
        tag("p", lines[-1]),
        facts(tiles),
        section("Scores", _scores(results), note(_protocol(config))),
        section("Training", _training(config)),
        section("HN-labels: what depth gives, what the network learned of it", *_hn_pictures(config, shards)),
        section("Segmentation of rooms that no network was trained on", *_class_pictures(config, labelled)),
        section("Time", table(["stage", "seconds"], [[k, f"{v:.1f}"] for k, v in seconds.items()], numeric=(1,))),
    )
    replace_file(config.out / "report.html", text.encode("utf-8"))


def _protocol(config: Demo) -> str:
    return (
        f"{config.network} at {config.size}; each fine-tuning {config.tune_steps} steps of 8 images, "
        f"AdamW at 1e-3, cosine, the same for both; pre-training {config.steps} steps at 3e-3. Each of "
        f"{config.seeds} seeds draws its own {config.labelled} images; mIoU over the classes that the "
        "validation images hold."
    )


def _scores(results: Results) -> Markup:
    def mean(arm: str, key: str) -> float:
        return float(np.mean([result[key] for result in results[arm]]))

    def of_class(arm: str, k: int) -> float:
        return float(np.mean([result["per_class"][k]["iou"] for result in results[arm]]))

    names = {"miou": "mean IoU", "global_accuracy": "pixels right", "class_accuracy": "mean class accuracy"}
    rows = [[tag("b", name), *_pair(*(mean(arm, key) for arm in ARMS))] for key, name in names.items()]
    first = results[ARMS[0]][0]["per_class"]
    rows += [
        [f"IoU {entry['class']}", *_pair(*(of_class(arm, k) for arm in ARMS))]
        for k, entry in enumerate(first)
        if entry["pixels"]
    ]
    return table(["mean over seeds", *(STARTS[arm] for arm in ARMS), "difference"], rows, numeric=(1, 2, 3))


def _pair(scratch: float, hn: float) -> list[str]:
    return [f"{100 * scratch:.1f} %", f"{100 * hn:.1f} %", f"{100 * (hn - scratch):+.1f}"]


def read_curve(folder: Path, key: str) -> npt.NDArray[np.float64]:
    """Points (N, 2) of step and `key` from a run's metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    return np.array(points, np.float64).reshape(-1, 2)


def _training(config: Demo) -> Markup:
    pretrained = Curve("HN-labels", "var(--three)", read_curve(config.out / "pretrained", "loss"))
    charts = [
        curves([pretrained], "pre-training loss", "step", "cross-entropy"),
        curves(_arm_curves(config, "loss", 1.0), "fine-tuning loss", "step", "cross-entropy"),
        curves(_arm_curves(config, "miou", 100.0), "mIoU on the validation rooms", "step", "%"),
    ]
    return tag("div", *(tag("div", chart, class_="card") for chart in charts), class_="grid thirds")


def _arm_curves(config: Demo, key: str, scale: float) -> list[Curve]:
    found = []
    for arm in ARMS:
        for seed in config.all_seeds:
            points = read_curve(config.folder(arm, seed), key) * (1.0, scale)
            found.append(Curve(f"{STARTS[arm]}, {seed}", COLOURS[arm], points, dashed=seed > config.seed))
    return found


def predicted(found: Checkpoint, images: list[Picture]) -> list[npt.NDArray[np.uint8]]:
    """The classes (H, W) that a checkpoint's network sees in each image (H, W, 3)."""
    from fastseg.data.augment import resized
    from fastseg.inference import predictions, restored

    record, shapes = found.record, [image.shape[:2] for image in images]
    small = [resized(image, record.size) for image in images]
    return [
        np.asarray(each.cpu().numpy(), np.uint8)
        for each in predictions(restored(found), small, shapes, record.normalisation)
    ]


def _hn_pictures(config: Demo, shards: HNShards) -> list[Markup]:
    hn = shards.metadata["hn"]
    palette = hn_palette(hn["n_height"], hn["n_normal"])
    rows = [shards.row(round(k)) for k in np.linspace(0, len(shards) - 1, min(4, len(shards)))]
    rows = [row for row in rows if row["image"] is not None]
    images = [np.asarray(decode_color(row["image"], row["id"])) for row in rows]
    guesses = predicted(load(config.out / "pretrained"), images)
    cards = [
        _strip(
            row["id"],
            [("colour", image), ("HN-label from depth", label_picture(label_of(row), palette)),
             ("predicted from colour", label_picture(guess, palette))],
        )
        for row, image, guess in zip(rows, images, guesses, strict=True)
    ]  # fmt: skip
    about = (
        "Colours get lighter with height; warm: surfaces parallel to the floor, cold: perpendicular; grey: no label."
    )
    return [note(f"{about} These frames were trained on.", tag("br"), "All frames: fastseg view OUT/labels."), *cards]


def _class_pictures(config: Demo, labelled: Path) -> list[Markup]:
    images = FolderLabels(labelled, "val")
    indices = [round(k) for k in np.linspace(0, len(images) - 1, min(6, len(images)))]
    palette = class_palette(len(images.class_names))
    pairs = [images[k] for k in indices]
    guesses = {arm: predicted(load(config.folder(arm, config.seed)), [image for image, _ in pairs]) for arm in ARMS}
    cards = []
    for at, (k, (image, label)) in enumerate(zip(indices, pairs, strict=True)):
        painted = [(f"from {STARTS[arm]}", label_picture(guesses[arm][at], palette)) for arm in ARMS]
        strip = [("colour", image), ("truth", label_picture(label, palette)), *painted]
        cards.append(_strip(images.ids()[k], strip))
    legend = [tag("span", swatch(palette[k]), name) for k, name in enumerate(images.class_names)]
    return [note(*legend, class_="note legend"), *cards]


def _strip(name: str, pictures: list[tuple[str, Picture]]) -> Markup:
    figures = [picture(pixels, caption, kind="jpeg" if caption == "colour" else "png") for caption, pixels in pictures]
    return tag("div", tag("h3", name), tag("div", *figures, class_="strip"), class_="card")
