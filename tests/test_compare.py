from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fastseg import compare_study
from fastseg.compare import cli
from fastseg.compare_plan import Plan
from fastseg.compare_study import Study, cells, read_study
from tests.compare_kit import root, values

__all__ = ["root"]

ROOT = Path(__file__).parent.parent


def _study(tmp_path: Path, root: Path, change: Callable[[Any], object] = lambda _: None) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values(root, change)))
    return read_study(path)


def test_a_cell_for_every_variant_number_of_images_and_seed(tmp_path: Path, root: Path) -> None:
    found = cells(_study(tmp_path, root), tmp_path / "out", 4)
    assert [each.name for each in found] == [
        "scratch-2-3", "frozen-2-3", "scratch-4-3", "frozen-4-3", "scratch-2-5", "frozen-2-5", "scratch-4-5",
        "frozen-4-5",
    ]  # fmt: skip
    assert [each.segment.split for each in found[:3]] == ["train:2", "train:2", "train"]
    assert {each.segment.seed for each in found} == {3, 5} and all(each.segment.resume for each in found)
    scratch, frozen = found[0].segment, found[1].segment
    assert scratch.init_from == "" and frozen.init_from == str(tmp_path / "out/pretrain/hn/run")
    assert frozen.transfer.freeze == 2 and frozen.optim.lr == 0.5 != scratch.optim.lr
    assert frozen.loop == scratch.loop and len({each.segment.out for each in found}) == 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v.update(foo=1), "unknown key 'foo'"),
        (lambda v: v.pop("variants"), "option variants is required"),
        (lambda v: v["variants"].append({"name": "scratch"}), "variant scratch stands there twice"),
        (lambda v: v["variants"].append({"name": "a b"}), "variant 'a b': a name is one word"),
        (lambda v: v["variants"].append({"name": "a", "init": "pretrain:no"}), "begins from pre-training 'no'"),
        (lambda v: v["variants"].append({"name": "a", "init": "no.pth"}), "init no.pth: no such checkpoint folder"),
        (lambda v: v["variants"].append({"name": "a", "foo": 1}), "variants: unknown key 'foo'"),
        (lambda v: v["variants"].append({"name": "a", "transfer": {"foo": 1}}), "unknown key 'transfer.foo'"),
        (lambda v: v["variants"].append({"name": "a", "transfer": {"freeze": 1}}), "variant a: transfer.mode all"),
        (lambda v: v["variants"].append({"name": "a", "fields": {"foo": 1}}), "variant a: unknown key 'foo'"),
        (lambda v: v["variants"].append({"name": "a", "fields": {"seed": 1}}), "seed is the study's to say"),
        (lambda v: v["segment"].update(steps="x"), "variant scratch: steps: expected int; got x"),
        (lambda v: v["segment"].update(split="train:3"), "numbers of images are the study's"),
        (lambda v: v["segment"].update(split="nosuch"), "nosuch.txt"),
        (lambda v: v["segment"].update(root="nowhere"), "nowhere"),
        (lambda v: v["segment"].update(classes=["red", "green"]), "names 'green'; the classes are grey, red"),
        (lambda v: v["segment"]["loop"].pop("eval_every"), "loop.eval_every must be set"),
        (lambda v: v.update(counts=[9]), "counts asks for 9 labelled images; the split has 4"),
        (lambda v: v.update(counts=[1]), "a batch of 2 needs as many labelled images; got 1"),
        (lambda v: v.update(fractions=[1.5]), "fractions lie in (0, 1]; got 1.5"),
        (lambda v: v.update(seeds=[1, 1]), "seed 1 stands there twice"),
        (lambda v: v["pretrain"][0].update(labels=[{"root": "r"}]), "labels take reader and root"),
        (lambda v: v["pretrain"][0]["fields"].update(foo=1), "pretrain hn: unknown key 'foo'"),
        (lambda v: v["pretrain"][0].update(labels=[], fields={"root": "none"}), "no label shards"),
        (lambda v: v["pretrain"][0].update(method="depth"), "pretrain hn: method is one of hn, segment,"),
        (lambda v: v["pretrain"][0].update(method="monodepth"), "labels are of method hn; monodepth takes none"),
        (lambda v: v["pretrain"][0].update(method="monodepth", labels=[]), "pretrain hn: option"),
        (lambda v: v["pretrain"][0].update(method="monodepth", labels=[], fields={"root": "nowhere"}),
         "nowhere"),
        (lambda v: v.update(order=["scratch", "other"]), "order lists two or more of the variants"),
        (lambda v: v.update(order=["scratch"]), "each once; got ['scratch']"),
        (lambda v: v["segment"].update(network="linknet/resnet7"), "resnet7"),
        (lambda v: v["variants"][1]["transfer"].update(freeze=99), "variant frozen: freeze must lie between"),
        (lambda v: v["segment"].update(optim={"lr": "search"}) or v["segment"]["loop"].update(eval_split="test"),
         "lr: search picks by the validation images"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_before_the_first_step(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], object], sentence: str
) -> None:
    pytest.importorskip("torch")
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(values(root, change)))
    assert cli([str(path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and sentence in said, said
    assert not list(out.rglob("*.json")), "nothing was begun"


@pytest.mark.torch
def test_weights_that_fit_nothing_are_told_before_the_first_step(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import save_file

    save_file({"layer.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
    variants = [{"name": "a", "init": str(tmp_path / "other.safetensors")}]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values(root, lambda v: v.update(pretrain=[], variants=variants))))
    assert cli([str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "variant a: no weight of" in said and not list((tmp_path / "out").rglob("*.json"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nname: b\n", "line 1: 'name' is given twice"),
        ("name: [\n", "study.yaml, line 2: "),
        ("just words\n", "expected lines `name: ...`"),
        ("name: !!python/object:os.system x\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"study\.yaml") as error:
        read_study(path)
    assert sentence in str(error.value)


def _end(plan: Plan, *names: str) -> None:
    for name in names:
        task = next(task for task in plan.tasks() if task.name == name)
        plan.begin(task)
        plan.end(task, 0)


def _ready(plan: Plan) -> list[str]:
    return [task.name for task in plan.ready()]


def test_a_pre_training_comes_before_what_begins_from_it(tmp_path: Path, root: Path) -> None:
    plan = Plan(_study(tmp_path, root, lambda v: v.update(counts=[], seeds=[0])), tmp_path / "out", 4)
    assert _ready(plan) == ["pretrain-hn-labels-0", "cell-scratch-4-0"]
    _end(plan, "pretrain-hn-labels-0")
    assert _ready(plan) == ["pretrain-hn", "cell-scratch-4-0"]
    _end(plan, "pretrain-hn")
    assert _ready(plan) == ["cell-scratch-4-0", "cell-frozen-4-0"]
    _end(plan, "cell-frozen-4-0", "cell-scratch-4-0")
    assert _ready(plan) == []


def test_what_was_run_with_other_settings_is_refused_by_name(tmp_path: Path, root: Path) -> None:
    plan = Plan(_study(tmp_path, root), tmp_path / "out", 4)
    _end(plan, "cell-scratch-2-3")
    slower = _study(tmp_path, root, lambda v: v["segment"].update(optim={"lr": 0.25}))
    with pytest.raises(
        ValueError, match=r"cell-scratch-2-3 was run with optim\.lr 0\.001, and the study now says 0\.2"
    ):
        Plan(slower, tmp_path / "out", 4).ready()
    record = plan.record("cell-scratch-2-3")
    del record["config"]["augment"]["hue"]  # as a version before that key wrote it
    plan.path("cell-scratch-2-3").write_text(json.dumps(record))
    elsewhere = _study(tmp_path, root, lambda v: v["segment"]["loop"].update(device="cpu", save_every=7))
    assert "cell-scratch-2-3" not in _ready(Plan(elsewhere, tmp_path / "out", 4))


def test_a_cell_of_a_pre_training_that_was_run_again_is_refused(tmp_path: Path, root: Path) -> None:
    plan = Plan(_study(tmp_path, root), tmp_path / "out", 4)
    _end(plan, "pretrain-hn-labels-0", "pretrain-hn", "cell-frozen-2-3")
    plan.path("pretrain-hn").unlink()
    longer = Plan(_study(tmp_path, root, lambda v: v["pretrain"][0]["fields"].update(steps=9)), tmp_path / "out", 4)
    with pytest.raises(ValueError, match="cell-frozen-2-3 began from a pre-training that was run again"):
        _end(longer, "pretrain-hn")
        longer.ready()


def test_a_searched_rate_is_found_before_the_variants_cells(tmp_path: Path, root: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values.update(search={"steps": 2, "highest": 1e-3, "lowest": 2e-4}, pretrain=[], seeds=[0], counts=[])
        values["variants"] = [{"name": "a", "fields": {"optim": {"lr": "search", "optimizer": "adamw"}}}]

    plan = Plan(_study(tmp_path, root, change), tmp_path / "out", 4)
    miou = {2e-4: 0.1, 5e-4: 0.2, 1e-3: 0.3, 2e-3: float("nan")}
    while _ready(plan)[0].startswith("search-"):
        task = plan.ready()[0]
        plan.begin(task)
        rate = task.config["optim"]["lr"]
        folder = Path(task.config["out"])
        folder.mkdir(parents=True)
        line = {"step": 2, "miou": miou[rate], "global_accuracy": 0.5, "class_accuracy": 0.5}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        plan.end(task, 1 if rate == 2e-3 else 0)
    (cell,) = plan.ready()
    assert cell.name == "cell-a-4-0" and cell.config["optim"]["lr"] == 1e-3, "the range had grown to 0.002"
    assert (cell.config["steps"], cell.config["optim"]["optimizer"]) == (4, "adamw")


def test_a_search_takes_no_rate_of_a_variant_whose_name_begins_alike(tmp_path: Path, root: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values.update(search={"steps": 2, "highest": 1e-3, "lowest": 2e-4}, pretrain=[], seeds=[0], counts=[])
        values["variants"] = [{"name": name, "fields": {"optim": {"lr": "search"}}} for name in ("hn", "hn-0.5")]

    plan = Plan(_study(tmp_path, root, change), tmp_path / "out", 4)
    names = [name for name in _ready(plan) if name.startswith("search-hn-0.5-")]
    for name in names:
        (tmp_path / "out" / "search" / "hn-0.5" / name.removeprefix("search-hn-0.5-")).mkdir(parents=True)
        (tmp_path / "out/search/hn-0.5" / name.removeprefix("search-hn-0.5-") / "metrics.jsonl").write_text(
            json.dumps({"step": 2, "miou": 0.5, "global_accuracy": 0.5, "class_accuracy": 0.5}) + "\n"
        )
    _end(plan, *names)
    assert plan.choice(plan.study.variants[0]).to_try == (2e-4, 5e-4, 1e-3)
    assert len(names) == 3 and plan.choice(plan.study.variants[1]).to_try == (1e-4,)


def test_a_damaged_record_of_a_task_is_named(tmp_path: Path, root: Path) -> None:
    plan = Plan(_study(tmp_path, root), tmp_path / "out", 4)
    plan.path("pretrain-hn").write_text("{")
    with pytest.raises(ValueError, match=r"pretrain-hn\.json is damaged"):
        plan.ready()


def test_the_committed_studies_are_typed() -> None:
    found = sorted((ROOT / "benchmarks/studies").glob("*.yaml"))
    ours = [path for path in found if "python -m fastseg.compare" in path.read_text()]  # others have a program each
    assert len(ours) >= 2
    for path in ours:
        study = read_study(path)
        assert cells(study, Path("out"), 367) and study.name == path.stem
        assert all(compare_study.pretraining_of(stage, Path("out")).steps for stage in study.pretrain)


def test_every_field_of_a_study_is_explained() -> None:
    for kind in (Study, compare_study.Variant, compare_study.Pretrain, compare_study.Search):
        assert all(f"\n    {field.name} " in (kind.__doc__ or "") for field in fields(kind)), kind
