"""Training of the paper's family: multi-property pre-training, then host-grouped folds.

Each run is resumable: the state after every epoch, and the predictions of every finished fold,
are files; the same call goes on where the last one stopped and ends with the same numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from em_model.data import PROPERTIES, Band, Crystal, host_folds, require_barriers
from em_model.errors import BadInput
from em_model.paper.family import SIZES, PaperModel, collate_inputs, paper_model
from em_model.paper.jarvis_graph import KnnGraph, collate, knn_graph
from em_model.paper.published import Alignn, mean_by_graph

Log = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    epochs
        Passes over the data.
    batch
        Structures per step.
    learning_rate
        Peak of the one-cycle schedule (AdamW).
    weight_decay
        Of AdamW.
    seed
        Of weights, order and folds.
    """

    epochs: int = 20
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 0


PRETRAINING = Schedule(epochs=3, batch=32)


class PropertyModel(nn.Module):
    """The trunk with one head for each of the seven bulk properties."""

    def __init__(self, size: str):
        super().__init__()
        config = SIZES[size]
        self.trunk = Alignn(config)
        self.shared = nn.Sequential(nn.SiLU(), nn.Linear(config.hidden, config.head), nn.SiLU())
        self.heads = nn.Linear(config.head, len(PROPERTIES))

    def forward(self, graph: KnnGraph) -> Tensor:
        """All properties of each crystal, shape (num_graphs, 7), scaled to [−1, 1]."""
        h = mean_by_graph(self.trunk.atoms(graph), graph.graph_of, graph.num_graphs)
        out: Tensor = self.heads(self.shared(h))
        return out


def pretrain(
    crystals: Sequence[Crystal],
    size: str,
    folder: str | Path,
    schedule: Schedule = PRETRAINING,
    log: Log = print,
) -> Path:
    """Train the trunk on seven bulk properties at once.

    The loss is the masked L1 of the paper's Eq. 2: each crystal knows one property, the heads
    of the other six get no gradient from it.

    Parameters
    ----------
    crystals
        Structures with one property each; those of split ``test`` only measure the error.
    size
        A name of :data:`em_model.paper.family.SIZES`.
    folder
        Where the state after each epoch and the result go.
    schedule
        Length, speed and seed.
    log
        Called with one line per epoch.

    Returns
    -------
    pathlib.Path
        ``trunk.safetensors``, the weights of the trunk alone.
    """
    folder = Path(folder)
    trunk = folder / "trunk.safetensors"
    if trunk.exists():
        return trunk
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(schedule.seed)
    model = PropertyModel(size)
    column = {name: i for i, name in enumerate(PROPERTIES)}

    def graphs(part: Sequence[Crystal]) -> KnnGraph:
        return collate([knn_graph(c.lattice, c.species, c.frac_coords, 8.0) for c in part])

    def loss(part: Sequence[Crystal]) -> Tensor:
        target = torch.tensor([c.value for c in part], dtype=torch.float32)
        known = torch.tensor([column[c.property] for c in part])
        return F.l1_loss(model(graphs(part)).gather(1, known[:, None]).squeeze(1), target)

    train = [c for c in crystals if c.split != "test"]
    _fit(model, train, loss, schedule, folder / "pretrain.pt", log)
    errors: dict[str, list[float]] = {name: [] for name in PROPERTIES}
    model.eval()
    with torch.inference_mode():
        test = [c for c in crystals if c.split == "test"]
        for start in range(0, len(test), 32):
            part = test[start : start + 32]
            for crystal, row in zip(part, model(graphs(part)).tolist(), strict=True):
                errors[crystal.property].append(abs(row[column[crystal.property]] - crystal.value))
    card = {
        "size": size,
        "schedule": asdict(schedule),
        "crystals": len(train),
        "test_mae": {name: float(np.mean(e)) for name, e in errors.items() if e},
    }
    (folder / "trunk.json").write_text(json.dumps(card, indent=1) + "\n")
    save_file({k: v.contiguous() for k, v in model.trunk.state_dict().items()}, trunk)
    log(f"pre-trained trunk: {card['test_mae']}")
    return trunk


def cross_validate(
    name: str,
    bands: Sequence[Band],
    folder: str | Path,
    *,
    size: str = "small",
    folds: int = 5,
    only: Sequence[int] | None = None,
    trunk: str | Path | None = None,
    schedule: Schedule | None = None,
    log: Log = print,
) -> dict[str, Any]:
    """Train a member of the family on host-grouped folds and predict what each left out.

    Parameters
    ----------
    name, size
        Member and size (:mod:`em_model.paper.family`).
    bands
        Bands with barriers.
    folder
        Where the states and the predictions go, ``{name}-{size}-fold{k}.json``.
    folds
        Number of folds; no host stands in two of them.
    only
        Folds to train now, default all.
    trunk
        Weights from :func:`pretrain`; needed by all members but the ``scratch`` ones.
    schedule
        Length, speed and seed.
    log
        Called with one line per epoch.

    Returns
    -------
    dict
        ``{"model", "size", "folds", "seed", "predictions": {band id: eV}}``, out of fold.
    """
    folder, schedule = Path(folder), schedule or Schedule()
    targets = require_barriers(bands)
    fold_of = host_folds(bands, folds, schedule.seed)
    predictions: dict[str, float] = {}
    for fold in range(folds) if only is None else only:
        done = folder / f"{name}-{size}-fold{fold}.json"
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            log(f"{name} {size} fold {fold}")
            inside = np.flatnonzero(fold_of != fold).tolist()
            outside = np.flatnonzero(fold_of == fold).tolist()
            model, mean, std = _train_band_model(
                name, size, [bands[i] for i in inside], targets[inside],
                trunk, schedule, done.with_suffix(".pt"), log,
            )  # fmt: skip
            found = predict(model, [bands[i] for i in outside]) * std + mean
            ids = [bands[i].id for i in outside]
            partial = done.with_suffix(".tmp")
            partial.write_text(json.dumps(dict(zip(ids, found.tolist(), strict=True))))
            partial.replace(done)
            done.with_suffix(".pt").unlink()
            error = np.abs(found - targets[outside]).mean()
            log(f"{name} {size} fold {fold}: MAE {error:.3f} eV on {len(ids)} bands")
        predictions |= json.loads(done.read_text())
    return {
        "model": name,
        "size": size,
        "folds": folds,
        "seed": schedule.seed,
        "schedule": asdict(schedule),
        "predictions": predictions,
    }


def predict(model: PaperModel, bands: Sequence[Band]) -> np.ndarray:
    """Outputs of the network for each band, shape (len(bands),), in units of training."""
    model.eval()
    found: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(bands), 4):
            items = [model.inputs(band) for band in bands[start : start + 4]]
            found += model(collate_inputs(items)).tolist()
    return np.array(found)


def _train_band_model(
    name: str,
    size: str,
    bands: Sequence[Band],
    targets: np.ndarray,
    trunk: str | Path | None,
    schedule: Schedule,
    state_file: Path,
    log: Log,
) -> tuple[PaperModel, float, float]:
    """A model trained on standardised barriers, with their mean and standard deviation."""
    torch.manual_seed(schedule.seed)
    model = paper_model(name, size)
    if model.pretrained:
        if trunk is None:
            raise BadInput(f"--trunk: missing; {name} starts from a pre-trained trunk")
        try:
            model.trunk.load_state_dict(load_file(trunk))
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{trunk}: no trunk of size {size} ({reason}); pre-train it") from error
    mean, std = float(targets.mean()), float(targets.std())
    items = [(model.inputs(b), (t - mean) / std) for b, t in zip(bands, targets, strict=True)]

    def loss(part: Sequence[Any]) -> Tensor:
        expected = torch.tensor([t for _, t in part], dtype=torch.float32)
        return F.l1_loss(model(collate_inputs([inputs for inputs, _ in part])), expected)

    _fit(model, items, loss, schedule, state_file, log)
    return model, mean, std


def _fit(
    model: nn.Module,
    items: Sequence[Any],
    loss: Callable[[Sequence[Any]], Tensor],
    schedule: Schedule,
    state_file: Path,
    log: Log,
) -> None:
    """AdamW on a one-cycle schedule, its state saved after every epoch and taken up again."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    steps = len(_batches(len(items), schedule, 0))
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=max(1, steps * schedule.epochs)
    )
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        rate.load_state_dict(state["rate"])
        first = state["epoch"]
    model.train()
    for epoch in range(first, schedule.epochs):
        start, total = time.perf_counter(), 0.0
        for batch in _batches(len(items), schedule, epoch):
            optimiser.zero_grad()
            value = loss([items[i] for i in batch])
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            rate.step()
            total += value.item() * len(batch)
        state = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "rate": {k: v for k, v in rate.state_dict().items() if k != "_schedule_phases"},
            "epoch": epoch + 1,
        }
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
        seconds = time.perf_counter() - start
        log(
            f"  epoch {epoch + 1}/{schedule.epochs}: loss {total / len(items):.4f}, {seconds:.0f} s"
        )


def _batches(count: int, schedule: Schedule, epoch: int) -> list[list[int]]:
    """Random batches that cover all items once; the order depends on seed and epoch alone."""
    order = np.random.default_rng([schedule.seed, epoch]).permutation(count)
    # A batch of one would have no batch statistics worth the name: it joins the one before.
    cuts = list(range(schedule.batch, count - 1, schedule.batch))
    return [part.tolist() for part in np.split(order, cuts)]
