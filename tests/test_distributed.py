"""Several processes: the loss of the whole batch, one curve, one decision to stop or skip, and no one left alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from fastseg.checkpoint import load
from fastseg.distributed import Group, _buckets, process_group
from fastseg.loop import shares
from fastseg.losses import segmentation_loss
from fastseg.methods import LoopConfig
from fastseg.methods.structure import LabelStructure
from fastseg.nets.rank_norm import RankBatchNorm, over_ranks
from fastseg.train import fit
from tests.rank_toy import Squares

pytestmark = pytest.mark.torch
TOY = Path(__file__).with_name("rank_toy.py")
ROOT = Path(__file__).parents[1]
ALONE = Group(torch.device("cpu"))
# Two processes add in another order than one: float32 rounding, 6e-8 a sum, which ten steps of SGD multiply.
TOLERANCE = 1e-4


def _environment(rank: int | None = None, world: int = 2, port: int = 0) -> dict[str, str]:
    own = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if rank is None:
        return own
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    return own | {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in numbers.items()}


def _ranks(out: Path, *words: str) -> list[subprocess.Popen[str]]:
    """The two processes of a run, started without torchrun, which would end the others itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(TOY), str(out), *words]
    return [
        subprocess.Popen(command, env=_environment(rank, port=port), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
        for rank in range(2)
    ]  # fmt: skip


def _ended(ranks: list[subprocess.Popen[str]], timeout: float = 200) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each rank."""
    said = [rank.communicate(timeout=timeout) for rank in ranks]
    return [(rank.returncode, *text) for rank, text in zip(ranks, said, strict=True)]


def _torchrun(out: Path, *words: str) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, str(TOY), str(out), *words], env=_environment(), check=True, timeout=200)


def _alone(out: Path, *words: str) -> None:
    subprocess.run([sys.executable, str(TOY), str(out), *words], env=_environment(), check=True, timeout=200)


def _lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _losses(out: Path) -> list[float]:
    return [line["loss"] for line in _lines(out) if "loss" in line]


def test_parts_weighted_by_their_mass_add_up_to_the_loss_of_the_whole_batch() -> None:
    logits = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (4, 8, 8), generator=torch.Generator().manual_seed(1))
    labels[:2, 1:], labels[3, 2:] = 255, 255
    weight = torch.tensor([0.2, 1.0, 3.0])
    parts = labels.tensor_split(2)
    found = shares(parts, weight, ALONE)
    losses = [segmentation_loss(half, part, weight) for half, part in zip(logits.tensor_split(2), parts, strict=True)]
    whole = segmentation_loss(logits, labels, weight)
    assert sum(loss * share for loss, share in zip(losses, found, strict=True) if share is not None) == pytest.approx(
        float(whole), rel=1e-6
    )
    assert abs(float(sum(losses)) / 2 - float(whole)) > 0.01, "the mean of the parts' means is another number"


def test_one_process_is_a_group_of_its_own() -> None:
    with process_group(torch.device("cpu")) as group:
        assert group.first and group.world == 1 and not dist.is_initialized()
        assert group.largest(15) == 15 and group.everyones("a") == ["a"] and group.share(3) == (0, 1, 2)
        assert np.array_equal(group.total_counts(np.eye(2, dtype=np.int64)), np.eye(2))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    three = Group(torch.device("cpu"), 0, 3)
    with pytest.raises(ValueError, match="--batch 4 cannot be shared evenly by 3 processes"):
        three.check_batch(4)
    with pytest.raises(ValueError, match=r"--batch 3 is less than 3 processes times optim\.accumulate 2"):
        three.check_batch(3, 2)
    assert [Group(torch.device("cpu"), rank, 3).share(7) for rank in range(3)] == [(0, 3, 6), (1, 4), (2, 5)]


def test_a_world_without_its_variables_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(ValueError, match=r"WORLD_SIZE is set but RANK is not: .* torchrun"),
        process_group(torch.device("cpu")),
    ):
        pass


def test_buckets_hold_every_gradient_once_in_order_and_one_type() -> None:
    gradients = [torch.zeros(5_000_000), torch.zeros(5_000_000), torch.zeros(3), torch.zeros(4).double()]
    found = list(_buckets(gradients))
    assert [each.data_ptr() for bucket in found for each in bucket] == [each.data_ptr() for each in gradients]
    assert [len(bucket) for bucket in found] == [1, 2, 1]


def test_batch_normalisation_of_one_process_is_torchs_own(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        x = torch.randn(3, 5, 4, 6, dtype=torch.float64, requires_grad=True)
        plain = nn.BatchNorm2d(5).double()
        nn.init.uniform_(plain.weight)
        ours = RankBatchNorm(nn.BatchNorm2d(5).double())
        ours.load_state_dict(plain.state_dict())
        for _ in range(2):
            assert torch.allclose(ours(x), plain(x), rtol=1e-12, atol=1e-12)
        for name, value in plain.state_dict().items():
            assert torch.allclose(ours.state_dict()[name], value, rtol=1e-12), name
        ours.eval(), plain.eval()
        assert torch.allclose(ours(x), plain(x), rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(ours.train(), (x,), eps=1e-6, atol=1e-6)
        with pytest.raises(ValueError, match="more than one value a channel"):
            ours(x[:1, :, :1, :1])
    finally:
        dist.destroy_process_group()


def test_frozen_batch_normalisation_stays_and_state_dicts_keep_their_keys() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    net[1].requires_grad_(False)
    keys, frozen, weight = list(net.state_dict()), net[1], net[2][0].weight  # type: ignore[index]
    changed = over_ranks(net, cuda=False)
    assert list(changed.state_dict()) == keys and changed[1] is frozen  # type: ignore[index]
    assert isinstance(changed[2][0], RankBatchNorm) and changed[2][0].weight is weight  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_give_the_curve_of_one_and_resume_from_one_another(tmp_path: Path) -> None:
    net = ("train", "network=fpn/convnext_atto")
    _alone(tmp_path / "one", *net, "steps=9", "eval=9")
    _torchrun(tmp_path / "two", *net, "steps=3")
    _alone(tmp_path / "two", *net, "steps=6", "resume=1")
    _torchrun(tmp_path / "two", *net, "steps=9", "resume=1", "eval=9")
    one, two = np.array(_losses(tmp_path / "one")), np.array(_losses(tmp_path / "two"))
    print(f"largest relative difference of 9 losses: {np.max(np.abs(one - two) / one):.1e}")
    assert len(two) == 9 and np.allclose(one, two, rtol=TOLERANCE, atol=0)
    scores = [_lines(tmp_path / name)[-1]["global_accuracy"] for name in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_regularised_training_has_the_same_curve_in_two_processes(kind: str, tmp_path: Path) -> None:
    maps, loop = Squares(), LoopConfig(device="cpu", workers=0, threads=1)
    learns = LabelStructure(
        "folder", "nowhere", tmp_path / "maps", widths=32, size="64x64", steps=2, batch=4, loop=loop
    )
    assert fit(learns, maps) == 0
    words = ("train", "network=fpn/convnext_atto", "steps=4", f"kind={kind}", f"autoencoder={learns.out}")
    _alone(tmp_path / "one", *words)
    _torchrun(tmp_path / "two", *words)
    one, two = np.array(_losses(tmp_path / "one")), np.array(_losses(tmp_path / "two"))
    print(f"largest relative difference of 4 losses: {np.max(np.abs(one - two) / one):.1e}")
    assert len(two) == 4 and np.allclose(one, two, rtol=TOLERANCE, atol=0)
    proofs = [json.loads((tmp_path / name / "regulariser.json").read_text()) for name in ("one", "two")]
    assert proofs[0] == proofs[1] and proofs[0]["sha256_before"] == proofs[0]["sha256_now"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_losses_with_batch_normalisation_are_those_of_one_process(tmp_path: Path) -> None:
    _alone(tmp_path / "one", "train", "steps=2")
    _torchrun(tmp_path / "two", "train", "steps=2")
    one, two = (np.array(_losses(tmp_path / name)) for name in ("one", "two"))
    print(f"relative differences of 2 losses: {np.abs(one - two) / one}")
    # Batch normalisation of 16 values a channel multiplies rounding a hundredfold a step: 2e-5 was seen at the second.
    assert np.allclose(one, two, rtol=[1e-6, 1e-3], atol=0)


@pytest.mark.slow
def test_a_signal_at_one_process_stops_all_after_one_save(tmp_path: Path) -> None:
    found = _ended(_ranks(tmp_path, "term"))
    assert [code for code, _, _ in found] == [143, 143], found
    assert "stopped by SIGTERM after step 4" in found[0][1] and found[1][1] == ""
    assert load(tmp_path).record.step == 4
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_at_one_process_is_skipped_by_all(tmp_path: Path) -> None:
    found = _ended(_ranks(tmp_path, "poison", "steps=5"))
    assert [code for code, _, _ in found] == [0, 0], found
    assert load(tmp_path).record.progress["skipped"] == 1
    losses = _losses(tmp_path)
    assert losses[3] is None and losses[4] is not None


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_leaves_no_orphan(tmp_path: Path) -> None:
    since = time.monotonic()
    first, second = _ended(_ranks(tmp_path, "die", "workers=1"))
    assert second[0] == -9 and first[0] == 1, first
    assert "0: another process of the run ended or fell silent" in first[2] and "Traceback" not in first[2]
    assert time.monotonic() - since < 150
    end = time.monotonic() + 30  # a data worker looks for its parent every five seconds
    while (left := _those_of(tmp_path)) and time.monotonic() < end:
        time.sleep(0.5)
    assert not left


def _those_of(out: Path) -> list[str]:
    """The processes whose command names the run's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if str(out) in line]


@pytest.mark.slow
def test_a_process_that_falls_silent_ends_the_others_within_the_time_out(tmp_path: Path) -> None:
    first, second = _ranks(tmp_path, "hang", "timeout=40")
    try:
        code, _, said = _ended([first])[0]
        assert code == 1 and "another process of the run ended or fell silent" in said
        assert second.poll() is None
    finally:
        second.kill()
        second.communicate()


@pytest.mark.slow
def test_a_mistake_that_one_process_finds_is_said_by_it_and_ends_all(tmp_path: Path) -> None:
    first, second = _ended(_ranks(tmp_path, "sentence"))
    assert second[0] == 2 and second[2].strip().endswith("1: squares/7 cannot be used")
    assert first[0] == 1 and "Traceback" not in first[2]
