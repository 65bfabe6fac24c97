"""Where a run's figures go beside metrics.jsonl: TensorBoard, Weights & Biases or MLflow, each only when asked for.

Nothing leaves the machine: W&B runs offline (`wandb sync` sends it) and MLflow writes to a folder, unless their own
variables WANDB_MODE and MLFLOW_TRACKING_URI say otherwise.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fastseg.same_config import flat

MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
SILENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Tracker(Protocol):
    """What a journal tells its figures to."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """The finite figures of a step."""
        ...

    def close(self) -> None:
        """All is written."""
        ...


class TensorBoard:
    """Event files in OUT/tensorboard; the figures of steps after `start`, which a resumed run gives again, go."""

    def __init__(self, module: Any, out: Path, start: int) -> None:
        self._writer = module.SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A W&B run in OUT/wandb, of the folder's name and the run's configuration."""

    def __init__(self, module: Any, out: Path, config: Mapping[str, Any]) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = module.init(project="fastseg", name=out.name, dir=str(out), config=dict(config), mode=mode)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """An MLflow run of the experiment `fastseg` in OUT/mlruns, of the folder's name and the run's configuration."""

    def __init__(self, module: Any, out: Path, config: Mapping[str, Any]) -> None:
        place = os.environ.get("MLFLOW_TRACKING_URI", (out / "mlruns").absolute().as_uri())
        self._client = module.MlflowClient(tracking_uri=place)
        known = self._client.get_experiment_by_name("fastseg")
        experiment = known.experiment_id if known is not None else self._client.create_experiment("fastseg")
        self._id = self._client.create_run(experiment, run_name=out.name).info.run_id
        for name, value in flat(config).items():
            self._client.log_param(self._id, name, value)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def tracking_module(kind: str) -> Any:
    """The module that tracks, None for `none`. ImportError with the command that installs it."""
    if kind == "none":
        return None
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module(MODULES[kind])
    except ImportError as error:
        raise ImportError(f"loop.track {kind} needs the package {kind}: pip install {kind}") from error


@contextmanager
def tracking(kind: str, out: Path, config: Mapping[str, Any], start: int) -> Iterator[Tracker | None]:
    """A context with the tracker of a run that begins after `start` steps, None for `none`.

    kind     none, tensorboard, wandb or mlflow
    out      the run's folder, where the tracker's own files go
    config   the resolved configuration

    ImportError: it is not installed.
    """
    module = tracking_module(kind)
    if module is None:
        yield None
        return
    out.mkdir(parents=True, exist_ok=True)
    tracker: Tracker = (
        TensorBoard(module, out, start)
        if kind == "tensorboard"
        else WandB(module, out, config)
        if kind == "wandb"
        else MLflow(module, out, config)
    )
    try:
        yield tracker
    finally:
        tracker.close()
