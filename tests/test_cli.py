"""The command line: a table of verbs, options read into a dataclass, a user's mistake in one sentence."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from fastseg import __version__, cli, doctor
from fastseg.frames import FrameError


@dataclass(frozen=True)
class Options:
    """Count the frames of a folder.

    out           where the counts go, 100% of them
    max_reject    the greatest share of rejected frames
                  that is still a success
    """

    out: Path
    max_reject: float = 0.5
    workers: int = 2
    order: Literal["sorted", "shuffled"] = "sorted"
    fast: bool = True
    name: str | None = None
    crop: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()


def _run(*words: str, positional: tuple[str, ...] = ("out",)) -> tuple[int, list[Options]]:
    seen: list[Options] = []

    def main(options: Options) -> int:
        seen.append(options)
        return 0

    return cli.run(Options, main, list(words), positional, prog="count"), seen


def test_flags_fill_the_dataclass_with_either_spelling() -> None:
    words = ["here", "--max-reject", "0.25", "--workers=-1", "--no-fast", "--crop", "[3, 4]", "--name", "5"]
    assert _run(*words) == (0, [Options(Path("here"), 0.25, -1, fast=False, name="5", crop=(3, 4))])
    assert _run("here", "--crop", "3,4")[1] == _run("here", "--crop=[3, 4]")[1] == [Options(Path("here"), crop=(3, 4))]
    assert _run("here", "--kinds", "no,7, a b")[1] == [Options(Path("here"), kinds=("no", "7", "a b"))]
    assert _run("--max_reject", "0.25", "here")[1] == [Options(Path("here"), 0.25)]
    assert _run("--fast", "here")[1] == _run("--fast", "true", "here")[1] == [Options(Path("here"))]
    assert _run("here", "--fast=false")[1] == [Options(Path("here"), fast=False)]


def test_flags_override_a_config_file_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("workers: 7\nname: kitchen\n")
    assert _run("here", "--config", str(file))[1] == [Options(Path("here"), workers=7, name="kitchen")]
    assert _run("--config", str(file), "--workers", "9", "here")[1][0].workers == 9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "x", "--worker", "3"], "count: no option --worker (did you mean --workers?); --help lists them"),
        (["x", "y"], "count: unexpected argument 'y'; options are given as --name value"),
        (["x", "--workers"], "count: option --workers needs a value"),
        (["x", "--workers", "many"], "count: --workers: expected int; got many"),
        (["x", "--order", "random"], "count: --order: expected sorted or shuffled; got random"),
        (["x", "--order", "sortd"], "count: --order: expected sorted or shuffled; got sortd (did you mean sorted?)"),
        ([], "count: option --out is required"),
        (["x", "--config", "absent.yaml"], "count: --config: File does not exist: "),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*words) == (2, [])
    error = capsys.readouterr().err
    assert error.startswith(sentence) and error.count("\n") == 1


def test_an_unknown_key_of_a_config_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("wokers: 7\n")
    assert _run("x", "--config", str(file)) == (2, [])
    assert capsys.readouterr().err == "count: the --config file has an unknown key 'wokers'\n"


def test_a_value_of_no_kind_that_an_option_takes_is_one_short_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Sampling:
        limit: int | None = None
        scale: float | str | None = None

    assert cli.run(Sampling, lambda options: 0, ["--limit", "many"], prog="count") == 2
    assert cli.run(Sampling, lambda options: 0, ["--scale", "[1, 2]"], prog="count") == 0
    assert capsys.readouterr().err == "count: --limit: expected int; got many\n"


def test_a_config_file_without_options_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("just words\n")
    assert _run("x", "--config", str(file)) == (2, [])
    assert "the --config file must hold lines `option: value`" in capsys.readouterr().err


def test_a_printed_configuration_can_be_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        _run("here", "--workers", "7", "--print_config")
    assert end.value.code == 0
    file = tmp_path / "options.yaml"
    file.write_text(capsys.readouterr().out)
    assert _run("--config", str(file))[1] == [Options(Path("here"), workers=7)]


def test_a_config_file_cannot_run_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "options.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir ['{marker}']\n")
    assert _run("x", "--config", str(file)) == (2, [])
    assert not marker.exists()


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("depth must be\n  metres"), 2, "count: depth must be metres\n"),
        (FrameError("size", "a.png is 3x4"), 2, "count: a.png is 3x4\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"),
            2,
            "a.png: no such file or directory\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "count: out: permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out"), 1, "count: out: no space left on device\n"),
        (KeyboardInterrupt(), 130, "count: interrupted\n"),
    ],
)
def test_what_a_program_raises_becomes_an_exit_code(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(options: Options) -> int:
        raise error

    assert cli.run(Options, main, ["x"], ("out",), prog="count") == code
    assert capsys.readouterr().err.endswith(sentence)


def test_debug_shows_the_traceback_and_bugs_always_do() -> None:
    def main(options: Options) -> int:
        raise ValueError("wrong") if options.workers else KeyError("bug")

    with pytest.raises(ValueError, match="wrong"):
        cli.run(Options, main, ["x", "--debug"], ("out",))
    with pytest.raises(KeyError):
        cli.run(Options, main, ["x", "--workers", "0"], ("out",))


def test_help_tells_what_each_field_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        _run("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    assert "where the counts go, 100% of them" in text
    assert "the greatest share of rejected frames that is still a success" in text
    assert "100% of them (may be given without --out)" in text


@dataclass(frozen=True)
class Grouped:
    """Count twice.

    options   how to count
    """

    options: Options


def test_a_flag_of_a_group_may_stand_bare() -> None:
    seen: list[Grouped] = []
    for flags in (["--options.fast", "--options.workers", "3"], ["--no-options.fast"], ["--options.fast", "false"]):
        assert cli.run(Grouped, lambda grouped: seen.append(grouped) or 0, ["--options.out", "here", *flags]) == 0  # type: ignore[func-returns-value]
    assert [each.options.fast for each in seen] == [True, False, False] and seen[0].options.workers == 3


def test_help_of_a_group_tells_what_its_fields_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run(Grouped, lambda options: 0, ["--help"], prog="count")
    text = " ".join(capsys.readouterr().out.split())
    assert "--options.max_reject MAX_REJECT the greatest share of rejected frames that is still a success" in text


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_the_help_of_every_verb_is_quick_to_load_and_warns_of_nothing(verb: str) -> None:
    heavy = "lambda: print({'torch', 'ray', 'timm'} & set(sys.modules), file=sys.stderr)"
    probe = f"import atexit, sys; atexit.register({heavy}); from fastseg import cli; cli.main(['{verb}', '--help'])"
    words = [sys.executable, "-W", "always::DeprecationWarning", "-c", probe]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout and done.stderr == "set()\n"


def test_the_table_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in cli.VERBS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_an_unknown_verb_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "fastseg: no verb 'trian' (did you mean train?); `fastseg --help` lists them\n"


def test_python_m_fastseg_is_the_same_table() -> None:
    done = subprocess.run([sys.executable, "-m", "fastseg", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2 and "no verb 'nonsense'" in done.stderr


def test_doctor_reports_the_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.cli(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["_cpu"].startswith("works (compiler ") and found["fastseg"].startswith(__version__)
    assert doctor.backend("_absent").startswith("absent (")
    assert doctor.version("no-such-package-here") == "not installed"
