"""The demo's stages: data on disk, then the programs that anyone would run, each as its own command."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastseg.data.sources import Reader

ROOM_SIZE = (192, 256)  # rows and columns of the procedural views
ARMS = ("scratch", "hn")
SIDE_BY_SIDE = 2  # programs at a time
SAY_EVERY_S = 20.0
POOL = 4  # labelled images to draw from, for each one that is drawn


@dataclass(frozen=True)
class Demo:
    """Show on a CPU, in minutes, what labels from depth are worth.

    out          the folder to write
    root         your own RGB-D recordings, instead of procedural rooms, to pre-train on
    reader       the layout of root
    depth_scale  metres for one unit of root's depth, instead of the data set's own
    seed         of the rooms and of the first training
    seeds        how often each fine-tuning is repeated, with other weights and other labelled images
    frames       RGB-D views that are labelled by their depth and pre-trained on
    labelled     images with classes that each fine-tuning sees
    validation   images of other rooms that the networks are scored on
    steps        of pre-training
    tune_steps   of each fine-tuning
    size         HEIGHTxWIDTH of the training images
    network      decoder/encoder, see fastseg.nets.build_network
    workers      label processes; 0 = inline, without Ray
    overwrite    replace an earlier demo's folder
    """

    out: Path = Path("runs/demo")
    root: Path | None = None
    reader: Reader = "folder"
    depth_scale: float | None = None
    seed: int = 0
    seeds: int = 2
    frames: int = 600
    labelled: int = 24
    validation: int = 64
    steps: int = 700
    tune_steps: int = 200
    size: str = "64x96"
    network: str = "unet/resnet18"
    workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("seeds", "frames", "labelled", "validation", "steps", "tune_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1; got {getattr(self, name)}")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must not be negative; got {getattr(self, name)}")

    @property
    def all_seeds(self) -> range:
        """The seeds of the fine-tunings."""
        return range(self.seed, self.seed + self.seeds)

    def folder(self, arm: str, seed: int) -> Path:
        """Where a fine-tuning keeps its checkpoints."""
        return self.out / f"{arm}-{seed}"


class Stages:
    """Prints each stage with the time it took, and keeps the times."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        print(f"-- {name}", flush=True)
        begun = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begun
        print(f"   {self.seconds[name]:.1f} s, {self.total():.0f} s in all", flush=True)

    def total(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.start


def checkout_folder(workers: int) -> Path:
    """The folder that holds `pipelines`; ValueError when fastseg is installed without it, or Ray is missing."""
    for folder in (Path(__file__).parents[1], Path.cwd()):
        if (folder / "pipelines" / "make_hn_labels.py").is_file():
            if workers and importlib.util.find_spec("ray") is None:
                raise ValueError("the demo makes its labels through Ray: pip install ray, or give --workers 0")
            return folder
    raise ValueError(
        "the demo makes its labels with pipelines/make_hn_labels.py, which comes with the repository and not with the "
        "installed package: run the demo from a clone of the repository"
    )


def write_data(config: Demo) -> tuple[Path, Path]:
    """The folder of RGB-D frames to pre-train on, and that of the labelled images (`train.txt`, `val.txt`)."""
    from fastseg.data.rooms import Rooms, write_rooms

    root = config.root
    if root is None:
        root = config.out / "recordings"
        write_rooms(root, Rooms(config.seed, config.frames, *ROOM_SIZE))
    elif config.reader == "folder" and all((root / name).exists() for name in ("labels", "train.txt", "val.txt")):
        print(f"   the labelled images are {root}'s own")
        return root, root
    pool, labelled = POOL * config.labelled, config.out / "labelled"
    rooms = Rooms(config.seed + 1_000_003, pool + config.validation, *ROOM_SIZE, views=1)  # each view its own room
    ids = write_rooms(labelled, rooms)
    (labelled / "train.txt").write_text("\n".join(ids[:pool]) + "\n")
    (labelled / "val.txt").write_text("\n".join(ids[pool:]) + "\n")
    return root, labelled


def make_labels(config: Demo, root: Path, checkout: Path) -> None:
    """None; HN-label shards lie in OUT/labels."""
    from fastseg.data.shards import HNShards
    from fastseg.data.sources import open_source

    options: dict[str, Any] = {} if config.depth_scale is None else {"depth_scale": config.depth_scale}
    every = max(1, len(open_source(config.reader, root, **options).ids()) // config.frames)
    given = {"reader": config.reader, "root": root, "out": config.out / "labels"}
    chosen = {"workers": config.workers, "tuning.every": every, "limit": config.frames}
    if config.root is None:
        chosen["hn.radius"] = 3  # pixels; the rooms' views are small, and the default is meant for 480x640
    run_all({"labels": flags("pipelines.make_hn_labels", given | chosen | options)}, checkout, config.out)
    print((config.out / "labels.txt").read_text("utf-8").rstrip())
    if not len(HNShards(config.out / "labels")):
        raise ValueError(f"no frame of {root} got a label; {config.out / 'labels' / 'rejected'} says why")


def pretraining(config: Demo) -> dict[str, list[str]]:
    """The command that trains the HN network into OUT/pretrained."""
    from fastseg.data.shards import HNShards

    accepted = len(HNShards(config.out / "labels"))
    images = {"root": config.out / "labels", "out": config.out / "pretrained", "seed": config.seed}
    return {"pretrained": flags("fastseg.train", images | _schedule(config, config.steps, accepted, 3e-3), "hn")}


def finetuning(config: Demo, labelled: Path, arm: str) -> dict[str, list[str]]:
    """The commands that train OUT/ARM-SEED for every seed; the two arms differ in nothing but their first weights."""
    commands = {}
    start = {"init_from": config.out / "pretrained"} if arm == "hn" else {}
    for seed in config.all_seeds:
        images = {"data": "folder", "root": labelled, "out": config.folder(arm, seed), "seed": seed}
        images |= {"split": f"train:{config.labelled}", "loop.eval_every": max(1, config.tune_steps // 5)}
        schedule = _schedule(config, config.tune_steps, config.labelled, 1e-3)
        commands[config.folder(arm, seed).name] = flags("fastseg.train", images | schedule | start, "segment")
    return commands


def _schedule(config: Demo, steps: int, images: int, rate: float) -> dict[str, object]:
    optim = {
        "lr": rate,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": min(20, steps // 5),
    }
    loop = {"workers": 0, "log_every": 5, "save_every": steps, "device": "cpu", "precision": "float32"}
    shared = {"network": config.network, "size": config.size, "steps": steps, "batch": min(8, images)}
    nested = {"optim": optim, "loop": loop}
    return shared | {f"{group}.{key}": value for group, part in nested.items() for key, value in part.items()}


def flags(module: str, options: Mapping[str, object], verb: str = "") -> list[str]:
    """The command that runs a program of this checkout with its options."""
    absolute = {key: value.resolve() if isinstance(value, Path) else value for key, value in options.items()}
    words = [verb] if verb else []
    return [sys.executable, "-m", module, *words, *(f"--{key}={value}" for key, value in absolute.items())]


def run_all(commands: Mapping[str, Sequence[str]], checkout: Path, logs: Path) -> None:
    """None once all commands ended well, two at a time; what they say goes to LOGS/NAME.txt.

    ValueError when one did not; none outlives this call.
    """
    # Two processes of one thread use two cores better than one of two threads, also when other work shares the cores.
    threads = str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    running: dict[str, subprocess.Popen[bytes]] = {}
    waiting, said = list(commands), time.monotonic()
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < SIDE_BY_SIDE:
                name = waiting.pop(0)
                print(f"   $ {shlex.join(['python', *commands[name][1:]])}", flush=True)
                log = stack.enter_context((logs / f"{name}.txt").open("wb"))
                process = subprocess.Popen(commands[name], cwd=checkout, env=environment, stdout=log, stderr=log)
                stack.callback(_end, process)
                running[name] = process
            time.sleep(0.05)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                _check(name, running.pop(name).returncode, logs)
            if time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                print("\n".join(f"   {name}: {_last_line(logs / f'{name}.txt')}" for name in running), flush=True)


def _check(name: str, code: int, logs: Path) -> None:
    if code:
        path = logs / f"{name}.txt"
        raise ValueError(f"{name} ended with exit code {code}: {_last_line(path)} (all it said is in {path})")


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing said yet")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()
