"""The training loop: steps that can stop anywhere and go on exactly where they were.

Everything random is a function of (seed, step), so a checkpoint needs no generator states: the
order of an epoch comes from ``default_rng([seed, epoch])``, dropout from ``manual_seed`` at each
step. A run that was interrupted and one that was not give the same weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from em_model.errors import BadInput

Log = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    epochs, batch_size
        Passes over the data, records a step.
    stop_epoch
        Stop after this epoch although the rate still falls over ``epochs``; 0 goes to the end.
    learning_rate, weight_decay, warmup
        Of AdamW; ``warmup`` is the share of steps with a rising rate, a cosine to zero follows.
    average
        Decay of the running mean of the weights that is kept at the end; 0 keeps the last.
    precision
        ``bfloat16`` runs products in it (fast on CPUs with AMX, and on GPUs), or ``float32``.
    checkpoint_s
        Seconds between checkpoints.
    """

    epochs: int = 20
    stop_epoch: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    average: float = 0.0
    precision: str = "float32"
    checkpoint_s: float = 120.0

    def rate(self, step: int, steps: int) -> float:
        """Learning rate at a step."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


@dataclass
class Progress:
    """What a checkpoint says beside the tensors."""

    step: int = 0
    wall_s: float = 0.0
    losses: list[float] = field(default_factory=list)
    stamp: dict[str, Any] = field(default_factory=dict)


def pick_device(device: str) -> torch.device:
    """Turn ``auto`` into the best device there is.

    Raises
    ------
    BadInput
        When the named device does not exist.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device: {device!r} is not available; use auto or cpu") from error
    return chosen


def train(
    model: nn.Module,
    records: int,
    loss_of: Callable[[nn.Module, np.ndarray, int], Tensor],
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    stamp: dict[str, Any] | None = None,
    log: Log | None = None,
    stop_after: int | None = None,
) -> Progress:
    """Train ``model`` in place.

    Parameters
    ----------
    model
        Trained in place; holds the averaged weights at the end when ``schedule.average``.
    records
        Number of training records.
    loss_of
        ``(model, indices, step) → scalar``; the loss of the records with these indices.
    schedule, seed, device
        See :class:`Schedule`.
    checkpoint
        File stem: ``STEM.safetensors`` and ``STEM.json`` are written every few minutes and at
        the end; when they exist and their stamp is the same, training goes on from there.
    stamp
        What must be equal for a checkpoint to be taken up (recipe, data hash).
    log
        Called with one line an epoch.
    stop_after
        Stop at this step (tests of resuming).

    Returns
    -------
    Progress
        Steps done, wall time over all runs, mean loss of each epoch.
    """
    per_epoch = math.ceil(records / schedule.batch_size)
    steps = schedule.epochs * per_epoch
    end = schedule.stop_epoch * per_epoch or steps
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    mean = [p.detach().clone() for p in model.parameters()] if schedule.average else []
    progress = Progress(stamp=stamp or {})
    if checkpoint is not None:
        progress = _load(checkpoint, model, optimizer, mean, progress)
    half = schedule.precision == "bfloat16"
    begun, saved, before = time.monotonic(), time.monotonic(), progress.wall_s
    running: list[float] = []
    model.train()
    while progress.step < end and progress.step != stop_after:
        epoch, place = divmod(progress.step, per_epoch)
        if place == 0 or not running:
            order = np.random.default_rng([seed, epoch]).permutation(records)
        chosen = order[place * schedule.batch_size : (place + 1) * schedule.batch_size]
        torch.manual_seed(seed * 1_000_003 + progress.step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(progress.step, steps)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = loss_of(model, chosen, progress.step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        progress.step += 1
        if mean:
            # The decay rises to its value, so that the start is forgotten early.
            decay = min(schedule.average, (1 + progress.step) / (10 + progress.step))
            with torch.no_grad():
                for kept, p in zip(mean, model.parameters(), strict=True):
                    kept.lerp_(p, 1 - decay)
        running.append(loss.item())
        progress.wall_s = before + time.monotonic() - begun
        if progress.step % per_epoch == 0:
            progress.losses.append(float(np.mean(running)))
            running = []
            if log:
                log(
                    f"epoch {epoch + 1}/{schedule.epochs} loss {progress.losses[-1]:.4f} "
                    f"{progress.wall_s:.0f} s"
                )
        if checkpoint and time.monotonic() - saved > schedule.checkpoint_s:
            _save(checkpoint, model, optimizer, mean, progress)
            saved = time.monotonic()
    if checkpoint:
        _save(checkpoint, model, optimizer, mean, progress)
    if progress.step >= end and mean:
        with torch.no_grad():
            for kept, p in zip(mean, model.parameters(), strict=True):
                p.copy_(kept)
    model.eval()
    return progress


def write_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata=info)
    part.chmod(0o644)  # save_file makes it private
    part.replace(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    BadInput
        When it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such weights file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: damaged weights file ({error}); install it anew") from error


def _save(
    stem: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    mean: list[Tensor],
    progress: Progress,
) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    tensors |= {f"mean.{i}": v for i, v in enumerate(mean)}
    # The step lives in the tensor file too: a crash between the two files is then noticed.
    info = {"progress": json.dumps(asdict(progress))}
    write_tensors(stem.with_suffix(".safetensors"), tensors, info)
    part = stem.with_suffix(".json.part")
    part.write_text(json.dumps(asdict(progress), indent=1) + "\n", encoding="utf-8")
    part.replace(stem.with_suffix(".json"))


def _load(
    stem: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    mean: list[Tensor],
    fresh: Progress,
) -> Progress:
    path = stem.with_suffix(".safetensors")
    if not path.exists():
        return fresh
    from safetensors import safe_open

    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as handle:
        saved = Progress(**json.loads(handle.metadata()["progress"]))
    if json.loads(json.dumps(fresh.stamp)) != saved.stamp:
        raise BadInput(
            f"{path}: was made with another recipe or other data; remove it or name another folder"
        )
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    for i in range(len(mean)):
        mean[i].copy_(tensors[f"mean.{i}"])
    return saved
