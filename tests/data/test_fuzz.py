"""L11: no damage of a data set ends a run, is rejected without a known reason, or becomes a false label."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from fuzz import REASONS, SEEDS, run
from fuzz_kits import KITS, made

from fastseg.data.sources import open_source
from fastseg.frames import FrameError


@pytest.mark.parametrize("name", KITS)
def test_damaged_data_sets_end_in_a_reason_or_the_right_label(name: str, tmp_path: Path) -> None:
    tally = run(made(name), range(40), tmp_path)
    assert tally.wrong == [] and tally.outcomes.total() == 40, tally


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("name", KITS)
def test_two_hundred_damages_of_each_reader(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = run(made(name), range(SEEDS), tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {dict(tally.outcomes)}, unseen {dict(tally.unseen)}")
    assert tally.wrong == [] and tally.outcomes.total() == SEEDS, tally


ABSURD = (-1, 0, 1.5, 2**31 - 1, 2**31, 10**30, "x", "1", None, True, [], {}, float("nan"), float("inf"))


def rooms_damage(seed: int) -> bytes:
    """rooms.json truncated, with bytes changed, or with an absurd value."""
    chance, good = random.Random(seed), {"seed": 1, "count": 2, "height": 12, "width": 16, "views": 2, "noise": True}
    text = json.dumps(good).encode()
    if seed % 4 == 0:
        return text[: len(text) * (seed // 4) // 50]
    if seed % 4 == 1:
        return json.dumps(good | {chance.choice([*good, "other"]): chance.choice(ABSURD)}).encode()
    data = bytearray(text)
    for _ in range(chance.randrange(1, 5)):
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    return bytes(data)


def test_two_hundred_damages_of_the_description_of_rooms(tmp_path: Path) -> None:
    """Rooms are no files: a damaged description is refused in a sentence, or is one of other rooms."""
    for seed in range(SEEDS):
        (tmp_path / "rooms.json").write_bytes(rooms_damage(seed))
        try:
            source = open_source("rooms", tmp_path)
            source.load(source.ids()[0])
        except FrameError as error:
            assert error.reason in REASONS, seed
        except (ValueError, OSError) as error:
            assert str(error) and "\n" not in str(error), seed
