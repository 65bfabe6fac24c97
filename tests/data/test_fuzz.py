"""L11: no damage of a data set ends a run, is rejected without a known reason, or becomes a false label."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import SEEDS, run
from fuzz_kits import KITS, made


@pytest.mark.parametrize("name", KITS)
def test_damaged_data_sets_end_in_a_reason_or_the_right_label(name: str, tmp_path: Path) -> None:
    tally = run(made(name), range(40), tmp_path)
    assert tally.wrong == [] and tally.outcomes.total() == 40, tally


@pytest.mark.slow
@pytest.mark.parametrize("name", KITS)
def test_two_hundred_damages_of_each_reader(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = run(made(name), range(SEEDS), tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {dict(tally.outcomes)}, unseen {dict(tally.unseen)}")
    assert tally.wrong == [] and tally.outcomes.total() == SEEDS, tally
