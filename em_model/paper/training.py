"""Training of the paper's family: multi-property pre-training, then host-grouped folds.

Each run is resumable: checkpoints (:func:`em_model.training.train`) and the predictions of every
finished fold are files; the same call goes on where the last one stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from em_model.data import (
    PROPERTIES,
    Band,
    Crystal,
    deal_folds,
    learning_subset,
    require_barriers,
)
from em_model.errors import BadInput
from em_model.paper.family import SIZES, PaperModel, collate_inputs, paper_model
from em_model.paper.jarvis_graph import KnnGraph, collate, knn_graph
from em_model.paper.published import Alignn, mean_by_graph
from em_model.training import Log, Schedule, pick_device, train, write_tensors

# Products in bfloat16: three times faster where the processor has them, the rest stays float32.
PRETRAINING = Schedule(epochs=2, batch_size=32, learning_rate=3e-3, precision="bfloat16")
FINE_TUNING = Schedule(epochs=6, batch_size=4, learning_rate=2e-3, precision="bfloat16")


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
    *,
    schedule: Schedule = PRETRAINING,
    seed: int = 0,
    device: str = "auto",
    log: Log = print,
    stop_after: int | None = None,
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
        Where checkpoints and the result go.
    schedule, seed
        Length and speed; weights and order.
    device
        ``auto``, ``cpu``, ``cuda`` …
    log
        Called with one line an epoch.
    stop_after
        Stop at this step (tests of resuming).

    Returns
    -------
    pathlib.Path
        ``trunk.safetensors``, the weights of the trunk alone.
    """
    trunk = Path(folder) / "trunk.safetensors"
    if trunk.exists():
        return trunk
    on = pick_device(device)
    column = {name: i for i, name in enumerate(PROPERTIES)}
    learning = [c for c in crystals if c.split != "test"]
    kept_out = [c for c in crystals if c.split == "test"]

    def graphs(part: Sequence[Crystal]) -> KnnGraph:
        made = [knn_graph(c.lattice, c.species, c.frac_coords, 8.0) for c in part]
        return collate(made).to(on)

    def loss(model: nn.Module, indices: np.ndarray, step: int) -> Tensor:
        part = [learning[i] for i in indices]
        target = torch.tensor([c.value for c in part], dtype=torch.float32, device=on)
        known = torch.tensor([column[c.property] for c in part], device=on)
        return F.l1_loss(model(graphs(part)).gather(1, known[:, None]).squeeze(1), target)

    torch.manual_seed(seed)
    model = PropertyModel(size).to(on)
    card: dict[str, Any] = {
        "size": size,
        "schedule": asdict(schedule),
        "seed": seed,
        "crystals": len(learning),
    }
    progress = train(
        model,
        len(learning),
        loss,
        schedule,
        seed=seed,
        device=on,
        checkpoint=Path(folder) / "pretrain",
        stamp=card,
        log=log,
        stop_after=stop_after,
    )
    if progress.step == stop_after:
        return trunk
    errors: dict[str, list[float]] = {name: [] for name in PROPERTIES}
    with torch.inference_mode():
        for start in range(0, len(kept_out), 32):
            part = kept_out[start : start + 32]
            for crystal, row in zip(part, model(graphs(part)).tolist(), strict=True):
                errors[crystal.property].append(abs(row[column[crystal.property]] - crystal.value))
    card["test_mae"] = {name: float(np.mean(e)) for name, e in errors.items() if e}
    card["wall_s"] = progress.wall_s
    (Path(folder) / "trunk.json").write_text(json.dumps(card, indent=1) + "\n")
    write_tensors(trunk, model.trunk.state_dict(), {})
    return trunk


def cross_validate(
    name: str,
    bands: Sequence[Band],
    folder: str | Path,
    *,
    size: str = "small",
    folds: int = 5,
    split: str = "hosts",
    only: Sequence[int] | None = None,
    records: int | None = None,
    trunk: str | Path | None = None,
    schedule: Schedule = FINE_TUNING,
    seed: int = 0,
    device: str = "auto",
    log: Log = print,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Train a member of the family on folds and predict what each left out.

    Parameters
    ----------
    name, size
        Member and size (:mod:`em_model.paper.family`).
    bands
        Bands with barriers.
    folder
        Where checkpoints and predictions go, ``{name}-{size}[-paths][-n{records}]-fold{k}.json``.
    folds
        Number of folds.
    split
        ``hosts``: no host stands in two folds; or ``paths`` (:func:`em_model.data.deal_folds`).
    only
        Folds to train now, default all.
    records
        Learn from this many bands of each fold's training part only (learning curve), drawn so
        that the smaller sets lie in the larger ones; default all.
    trunk
        Weights from :func:`pretrain`; needed by all members but the ``scratch`` ones.
    schedule, seed
        Length and speed; folds, weights and order.
    device
        ``auto``, ``cpu``, ``cuda`` …
    log
        Called with one line an epoch.
    stop_after
        Stop at this step (tests of resuming); the fold then gives no predictions.

    Returns
    -------
    dict
        ``{"model", "size", "split", "folds", "seed", "records", "schedule", "predictions":
        {band id: eV}}``, each prediction by a model that has not seen the band.
    """
    folder = Path(folder)
    targets = require_barriers(bands)
    fold_of = deal_folds(bands, split, folds, seed)
    stem = f"{name}-{size}{result_suffix(split, records)}"
    predictions: dict[str, float] = {}
    for fold in range(folds) if only is None else only:
        done = folder / f"{stem}-fold{fold}.json"
        if not done.exists():
            inside = learning_subset(fold_of, fold, records, seed).tolist()
            outside = np.flatnonzero(fold_of == fold).tolist()
            state = folder / f"{done.stem}-state"
            stamp = {"fold": fold, "folds": folds, "seed": seed, "schedule": asdict(schedule)}
            model, scale = fine_tune(
                name,
                [bands[i] for i in inside],
                size=size,
                trunk=trunk,
                schedule=schedule,
                seed=seed,
                device=device,
                checkpoint=state,
                stamp=stamp,
                log=lambda line, fold=fold: log(f"{name} fold {fold}: {line}"),  # type: ignore[misc]
                stop_after=stop_after,
            )
            if model is None:
                break
            found = predict(model, [bands[i] for i in outside]) * scale[1] + scale[0]
            error = float(np.abs(found - targets[outside]).mean())
            log(f"{name} fold {fold}: MAE {error:.3f} eV on {len(outside)} bands")
            part = done.with_suffix(".part")
            ids = [bands[i].id for i in outside]
            part.write_text(json.dumps(dict(zip(ids, found.round(5).tolist(), strict=True))))
            part.replace(done)
            for suffix in (".safetensors", ".json"):
                state.with_suffix(suffix).unlink()
        predictions |= json.loads(done.read_text())
    return {
        "model": name,
        "size": size,
        "split": split,
        "folds": folds,
        "seed": seed,
        "records": records,
        "schedule": asdict(schedule),
        "predictions": predictions,
    }


def result_suffix(split: str, records: int | None) -> str:
    """What tells the files of other splits and of learning curves from those of a main run."""
    suffix = "" if split == "hosts" else f"-{split}"
    return suffix if records is None else f"{suffix}-n{records}"


def fine_tune(
    name: str,
    bands: Sequence[Band],
    *,
    size: str = "small",
    trunk: str | Path | None = None,
    schedule: Schedule = FINE_TUNING,
    seed: int = 0,
    device: str = "auto",
    checkpoint: Path | None = None,
    stamp: dict[str, Any] | None = None,
    log: Log | None = None,
    stop_after: int | None = None,
) -> tuple[PaperModel | None, tuple[float, float]]:
    """Train one member on bands; barriers are standardised by these bands alone.

    Returns
    -------
    tuple
        The model (None when stopped early), and (mean, standard deviation) in eV.

    Raises
    ------
    BadInput
        When the member needs a trunk and gets none, or one of another size.
    """
    torch.manual_seed(seed)
    model = paper_model(name, size)
    if model.pretrained:
        if trunk is None:
            raise BadInput(f"--trunk: missing; {name} starts from a pre-trained trunk")
        try:
            model.trunk.load_state_dict(load_file(trunk))
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{trunk}: no trunk of size {size} ({reason}); pre-train it") from error
    barriers = require_barriers(bands)
    mean, std = float(barriers.mean()), float(barriers.std())
    on = pick_device(device)
    model.to(on)
    targets = torch.tensor((barriers - mean) / std, dtype=torch.float32, device=on)
    inputs = [model.inputs(band) for band in bands]

    def loss(network: nn.Module, indices: np.ndarray, step: int) -> Tensor:
        chosen = collate_inputs([inputs[i] for i in indices]).to(on)
        return F.l1_loss(network(chosen), targets[indices])

    progress = train(
        model,
        len(bands),
        loss,
        schedule,
        seed=seed,
        device=on,
        checkpoint=checkpoint,
        stamp=stamp,
        log=log,
        stop_after=stop_after,
    )
    return (None if progress.step == stop_after else model), (mean, std)


def predict(model: PaperModel, bands: Sequence[Band]) -> np.ndarray:
    """Outputs of the network for each band, shape (len(bands),), in units of training."""
    model.eval()
    on = next(model.parameters()).device
    found: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(bands), 4):
            items = [model.inputs(band) for band in bands[start : start + 4]]
            found += model(collate_inputs(items).to(on)).tolist()
    return np.array(found)
