"""The house, held by the syntax tree: who imports whom, one stem in every room, sizes, words, what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("fastseg", "pipelines", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CSRC = sorted(path for path in (ROOT / "csrc").iterdir() if path.suffix in (".h", ".cpp", ".cu"))

# What each room of fastseg may import of fastseg, beside itself; a program is a module directly under fastseg.
MAY_IMPORT = {
    "frames": set(),
    "tensors": set(),
    "ops": {"frames"},
    "reference": {"frames"},
    "data": {"frames", "tensors", "ops", "labels"},
    "labels": {"frames", "ops"},
    "nets": {"frames", "tensors", "ops"},
    "losses": {"tensors", "ops"},
    "metrics": {"tensors", "ops"},
    "methods": {"frames", "tensors", "ops", "labels", "nets", "losses", "metrics", "data", "transfer", "weights"},
    "weights": {"tensors", "nets", "data", "checkpoint"},
    "transfer": {"tensors", "nets", "data", "checkpoint", "weights", "cli"},
    "checkpoint": {"tensors", "data"},
}
SIX_ROOMS = (
    "csrc/{}.h",
    "csrc/{}.cpp",
    "csrc/{}.cu",
    "fastseg/ops/{}.py",
    "fastseg/reference/{}.py",
    "tests/ops/test_{}.py",
    "benchmarks/bench_{}.py",
)
METHOD_ROOMS = ("fastseg/methods/{}.py", "tests/methods/test_{}.py")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), _name(path))


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function; `from a import b` counts as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: import from fastseg by its full name"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def _roots(path: Path) -> set[str]:
    return {module.partition(".")[0] for module in _imports(path)}


def _rooms(path: Path) -> set[str]:
    """The rooms of fastseg that a file imports."""
    return {module.split(".")[1] for module in _imports(path) if module.startswith("fastseg.")} - {"__version__"}


def _stems() -> list[str]:
    match = re.search(r"^set\(OPS([\w\s]*)\)", (ROOT / "csrc/CMakeLists.txt").read_text(), re.MULTILINE)
    assert match is not None
    return match[1].split()


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "fastseg")], ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "fastseg").parts[0].removesuffix(".py")
    if room in MAY_IMPORT:
        assert _rooms(path) <= MAY_IMPORT[room] | {room}
    assert not _rooms(path) & ({"reference"} - {room}), "reference is for tests and benchmarks"
    assert not _roots(path) & {"ray", "open3d", "pipelines", "benchmarks", "tests"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_ops_touches_compiled_code_and_only_arrays_knows_cupy(path: Path) -> None:
    text = path.read_text("utf-8")
    if not path.is_relative_to(ROOT / "fastseg/ops") and _name(path) != "fastseg/doctor.py":
        assert not {"_cpu", "_cuda", "_emu"} & _rooms(path)
        assert not re.search(r"fastseg\._(cpu|cuda|emu)\b", text)
    if _name(path) != "fastseg/ops/arrays.py" and not path.is_relative_to(ROOT / "benchmarks"):
        assert "cupy" not in _roots(path)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_pipelines_imports_ray_and_only_benchmarks_the_reference(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert "ray" not in _roots(path) or package == "pipelines"
    assert "fastseg.reference" not in _imports(path) or package == "benchmarks" or "reference" in path.parts
    if package == "pipelines":
        assert "benchmarks" not in _roots(path)


def test_an_op_has_the_same_stem_in_every_room() -> None:
    missing = [room.format(stem) for stem in _stems() for room in SIX_ROOMS if not (ROOT / room.format(stem)).exists()]
    assert not missing
    public = {path.stem for path in (ROOT / "fastseg/ops").glob("*.py")} - {"__init__", "arrays", "graphs"}
    second_files = {name for name in public if any(name.startswith(f"{stem}_") for stem in _stems())}
    assert public - second_files == set(_stems()), "an op without kernels, or kernels without an op"


def test_a_method_has_its_test() -> None:
    stems = [
        path.stem
        for path in (ROOT / "fastseg/methods").glob("*.py")
        if path.stem in {"hn", "segment", "classify", "monodepth", "structure", "gating", "pssl"}
    ]
    missing = [room.format(stem) for stem in stems for room in METHOD_ROOMS if not (ROOT / room.format(stem)).exists()]
    assert not missing


def test_every_verb_is_a_program() -> None:
    from fastseg.cli import VERBS

    for module, _ in VERBS.values():
        tree = _tree(ROOT / f"{module.replace('.', '/')}.py")
        assert "cli" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, module
        assert ast.unparse(tree.body[-1]).startswith("if __name__ == '__main__':"), module


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *CSRC], ids=_name)
def test_a_file_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_a_function_has_at_most_45_lines(path: Path) -> None:
    functions = [n for n in ast.walk(_tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno and f.end_lineno - f.lineno > 44}
    assert not too_long


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *CSRC], ids=_name)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert not re.fullmatch(
        r"(utils?|helpers?|common|managers?|misc|base_.*|.*_(v2|legacy|utils?|helpers?))", path.stem
    )
    assert not re.search(r"^\s*class \w*(Manager|Helper|Utils?|Base)\b", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "fastseg")], ids=_name)
def test_no_loose_ends(path: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError", path.read_text("utf-8"))
    assert not [n for n in ast.walk(_tree(path)) if isinstance(n, ast.Global)], "state that a module keeps"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_read_can_run_code(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "pickle" not in {*_roots(path), *{root.strip("_c") for root in _roots(path)}}
    assert not re.search(r"allow_pickle\s*=\s*True|\byaml\.(unsafe_)?load\(|shell\s*=\s*True|os\.system\(", text)
    for call in (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)):
        name, keywords = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        where = f"{_name(path)}:{call.lineno}"
        assert name not in ("eval", "exec"), where
        assert name != "torch.load" or keywords.get("weights_only") == "True", where
        assert not name.endswith(".extractall") or "filter" in keywords, where


def test_the_launch_syntax_stays_in_one_place() -> None:
    for path in CSRC:
        assert not re.search(r"<<<(?!>>>)", path.read_text()), path
        if path.name not in ("for_each_cuda.h", "bindings.cpp", "bindings.h"):
            assert not re.search(r"\bcuda[A-Z]\w+\(|__shfl|__ballot|\batomicAdd", path.read_text()), path


def test_the_kernels_know_no_framework() -> None:
    for path in CSRC:
        included = re.findall(r"#include [<\"]([^>\"]+)", path.read_text())
        assert not [name for name in included if name.startswith(("torch/", "ATen/", "numpy/", "cub/cub.cuh"))], path
        assert path.stem == "bindings" or not [name for name in included if "pybind11" in name], path


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    tracked = [*SOURCES, *TESTS, *CSRC, *(ROOT / "csrc").glob("*.txt"), *ROOT.glob("*.md"), *ROOT.glob("*.toml")]
    tracked += [*ROOT.glob("*.txt"), *ROOT.glob(".ci/*"), *ROOT.glob(".github/workflows/*")]
    for path in (p for p in tracked if p != Path(__file__)):
        found = re.findall(
            r"/(?:work|home|root|tmp/v)/\w+|--(?:extra-)?index-url|--find-links", path.read_text("utf-8")
        )
        assert not found, f"{_name(path)}: {found}"


def _modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('|', *sys.modules)"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.rpartition("|")[2].split())


HEAVY = {"torch", "numba", "timm", "ray", "pyarrow", "h5py", "cupy", "matplotlib", "fastseg._cpu", "fastseg._cuda"}


def test_import_fastseg_loads_neither_torch_nor_kernels() -> None:
    assert not _modules_after("import fastseg") & {*HEAVY, "numpy"}


@pytest.mark.parametrize(
    "verb",
    [
        "",
        "demo",
        "train",
        "train hn",
        "train segment",
        "compare",
        "train classify",
        "train monodepth",
        "train label-autoencoder",
        "analyse",
        "train gating",
        "train pssl",
        "evaluate",
        "predict",
        "export",
        "view",
        "doctor",
    ],
)
def test_help_answers_without_torch(verb: str) -> None:
    words = [*verb.split(), "--help"]
    code = f"from fastseg.cli import main\ntry:\n    main({words})\nexcept SystemExit as end:\n    assert not end.code"
    assert not _modules_after(code) & (HEAVY - {"numba", "pyarrow"})
