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
    tune_steps: int = 250
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
    from fastseg.data.sources import open_source

    options: dict[str, Any] = {} if config.depth_scale is None else {"depth_scale": config.depth_scale}
    every = max(1, len(open_source(config.reader, root, **options).ids()) // config.frames)
    given = {"reader": config.reader, "root": root.resolve(), "out": (config.out / "labels").resolve()}
    chosen = {"workers": config.workers, "every": every, "limit": config.frames}
    if config.root is None:
        chosen["hn.radius"] = 3  # pixels; the rooms' views are small, and the default is meant for 480x640
    run_all({"labels": flags("pipelines.make_hn_labels", given | chosen | options)}, checkout, 1, None)


def pretrain(config: Demo, checkout: Path) -> None:
    """None; the HN network lies in OUT/pretrained."""
    from fastseg.data.shards import HNShards

    accepted = len(HNShards(config.out / "labels"))
    if not accepted:
        raise ValueError(f"no frame got a label; {config.out / 'labels' / 'rejected'} says why")
    images = {"root": config.out / "labels", "out": config.out / "pretrained", "seed": config.seed}
    command = flags("fastseg.train", images | _schedule(config, config.steps, accepted, 3e-3), "hn")
    run_all({"pretrained": command}, checkout, os.cpu_count() or 1, None)


def finetune(config: Demo, labelled: Path, seed: int, checkout: Path) -> None:
    """None; OUT/scratch-SEED and OUT/hn-SEED are trained side by side, alike in everything but their first weights."""
    commands = {}
    for arm in ARMS:
        images = {"data": "folder", "root": labelled, "out": config.folder(arm, seed), "seed": seed}
        images |= {"split": f"train:{config.labelled}", "loop.eval_every": max(1, config.tune_steps // 5)}
        start = {"init_from": config.out / "pretrained"} if arm == "hn" else {}
        schedule = _schedule(config, config.tune_steps, config.labelled, 1e-3)
        commands[f"{arm}-{seed}"] = flags("fastseg.train", images | schedule | start, "segment")
    run_all(commands, checkout, max(1, (os.cpu_count() or 1) // len(ARMS)), config.out)


def _schedule(config: Demo, steps: int, images: int, rate: float) -> dict[str, object]:
    loop = {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup": min(20, steps // 5)}
    loop |= {"workers": 0, "log_every": 5, "save_every": steps, "device": "cpu", "precision": "float32"}
    shared = {"network": config.network, "size": config.size, "steps": steps, "batch": min(8, images), "lr": rate}
    return shared | {f"loop.{key}": value for key, value in loop.items()}


def flags(module: str, options: Mapping[str, object], verb: str = "") -> list[str]:
    """The command that runs a program of this checkout with its options."""
    absolute = {key: value.resolve() if isinstance(value, Path) else value for key, value in options.items()}
    words = [verb] if verb else []
    return [sys.executable, "-m", module, *words, *(f"--{key}={value}" for key, value in absolute.items())]


def run_all(commands: Mapping[str, Sequence[str]], checkout: Path, threads: int, logs: Path | None) -> None:
    """None once all commands, run side by side, ended well; what they say goes to LOGS/<name>.txt, or is shown.

    ValueError when one did not. None outlives this call.
    """
    # Threads that spin while they wait slow each other down when other work shares the cores.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    with ExitStack() as stack:
        running = {}
        for name, command in commands.items():
            print(f"   $ {shlex.join(['python', *command[1:]])}", flush=True)
            log = stack.enter_context((logs / f"{name}.txt").open("wb")) if logs is not None else None
            process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=log, stderr=log)
            stack.callback(_end, process)
            running[name] = process
        for name, process in running.items():
            if process.wait():
                where = "its message is above" if logs is None else f"its message is in {logs / f'{name}.txt'}"
                raise ValueError(f"{name} ended with exit code {process.returncode}; {where}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()
