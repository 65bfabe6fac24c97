"""How methods are minimised (OptimConfig), how their loop runs (LoopConfig), what regularises them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimConfig:
    """How the loss is minimised.

    lr              the greatest learning rate
    optimizer       sgd or adamw
    momentum        of sgd
    weight_decay    of every parameter
    schedule        constant; poly: (1 - step / steps)^0.9; cosine: (1 + cos(pi step / steps)) / 2; step: times
                    step_factor at each step of step_at
    step_at         of the schedule step: the steps before which the rate falls, as in [30000,36000]; empty = once,
                    after three quarters of the steps
    step_factor     of the schedule step
    warmup          steps over which the rate first rises linearly
    clip            largest L2 norm of the gradient, 0 = any
    class_weights   none, or median: median frequency / frequency
    accumulate      parts that a step's batch goes through the network in, one after the other: less memory, and the
                    same gradient but for batch normalisation, which then sees a part at a time
    ema             the decay of the running mean of the weights that is evaluated and saved as the best to use, as
                    in 0.999; 0 = none
    layer_decay     the rate of each encoder block over that of the next one, from the decoder down to the stem;
                    1 = one rate
    """

    lr: float = 1e-3
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["constant", "poly", "cosine", "step"] = "constant"
    step_at: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup: int = 0
    clip: float = 10.0
    class_weights: Literal["none", "median"] = "none"
    accumulate: int = 1
    ema: float = 0.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"optim.lr must be a positive number; got {self.lr}")
        for name in ("weight_decay", "warmup", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optim.{name} must not be negative; got {getattr(self, name)}")
        for name in ("momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optim.{name} must lie in [0, 1); got {getattr(self, name)}")
        for name in ("step_factor", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"optim.{name} must lie in (0, 1]; got {getattr(self, name)}")
        if self.accumulate < 1:
            raise ValueError(f"optim.accumulate must be at least 1; got {self.accumulate}")
        self._check_steps()

    def _check_steps(self) -> None:
        if self.step_at and self.schedule != "step":
            raise ValueError("optim.step_at goes with optim.schedule step: the steps before which the rate falls")
        if list(self.step_at) != sorted({step for step in self.step_at if step > 0}):
            raise ValueError(f"optim.step_at must be rising, positive steps; got {list(self.step_at)}")


@dataclass(frozen=True)
class LoopConfig:
    """How the training loop runs, whatever the method.

    precision       float32, bf16 or fp16 autocast; auto = bf16 on a GPU, float32 on a CPU
    device          cpu, cuda, cuda:1, ...; auto = cuda where there is one
    compile         torch.compile the network; the first steps then take minutes
    deterministic   the same bits from the same run, also where a GPU has a faster way; an operation that cannot is an
                    error
    workers         processes that read images, 0 = none; any number gives the same batches
    threads         of torch on the CPU, 0 = torch's own choice
    save_every      steps between checkpoints
    log_every       steps between lines of metrics.jsonl
    eval_every      steps between evaluations on `eval_split`, 0 = never
    eval_split      the split to evaluate on
    track           where figures go beside metrics.jsonl: none, tensorboard, wandb (offline) or mlflow (a local folder)
    """

    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    device: str = "auto"
    compile: bool = False
    deterministic: bool = False
    workers: int = 2
    threads: int = 0
    save_every: int = 1000
    log_every: int = 10
    eval_every: int = 0
    eval_split: str = "val"
    track: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "eval_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"loop.{name} must not be negative; got {getattr(self, name)}")
        for name in ("save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"loop.{name} must be at least 1; got {getattr(self, name)}")


@dataclass(frozen=True)
class RegulariserConfig:
    """A branch of training alone, which what is saved, evaluated and exported does not have.

    kind          none; decoder: it tells the labels again, through a label decoder; encoder: it tells a label encoder's
                  conv1 and conv3 activations
    autoencoder   a run of `fastseg train label-autoencoder` on the same classes and size, or one of its checkpoints
    weight        of the branch's loss, beside 1 of the labels'; the paper's for cross_entropy and a decoder of 128
    loss          auto = cross_entropy for the decoder, mse for the encoder (which has no other)
    tap           the map that the branch reads: encoder.1 (the finest), encoder.2, ..., penultimate; empty = for the
                  decoder the encoder's last map of the bottleneck's resolution, else penultimate; for the encoder all
    weights       of the decoder: frozen, unfrozen (it learns on) or random (it begins anew, and learns)
    """

    kind: Literal["none", "decoder", "encoder"] = "none"
    autoencoder: str = ""
    weight: float = 0.5
    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    tap: str = ""
    weights: Literal["frozen", "unfrozen", "random"] = "frozen"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"regulariser.weight must not be negative; got {self.weight:g}")
        if (self.kind != "none") != bool(self.autoencoder):
            raise ValueError(
                "regulariser.kind decoder or encoder and regulariser.autoencoder, a run of `fastseg train "
                "label-autoencoder`, go together"
            )
        if self.kind == "encoder" and (self.loss == "cross_entropy" or self.weights != "frozen"):
            raise ValueError(
                "regulariser.kind encoder goes with loss mse and frozen weights: an encoder that learns too "
                "could make its activations easy to tell"
            )
