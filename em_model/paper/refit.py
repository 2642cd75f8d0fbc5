"""Our own model made again on parts of its data: learning curve, new paths in known hosts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from em_model.data import Band, deal_folds, learning_subset, require_barriers
from em_model.ensemble import ModelRecipe, build_model
from em_model.paper.training import result_suffix
from em_model.predictor import WEIGHTS, find_model, read_card
from em_model.recipes import fill
from em_model.training import Log


def cross_validate(
    name: str,
    bands: Sequence[Band],
    folder: str | Path,
    *,
    split: str = "hosts",
    folds: int = 5,
    only: Sequence[int] | None = None,
    records: int | None = None,
    seed: int = 0,
    log: Log = print,
) -> dict[str, Any]:
    """Make a model of ours again without each fold, by its own recipe, and predict the fold.

    The recipe and the pre-trained trunk are those of the model named; mix and intervals are
    calibrated anew on the bands that it learns from.

    Parameters
    ----------
    name
        A model of ours, ``default`` or another.
    bands
        Bands with barriers.
    folder
        Where finished folds go, one file each.
    split, folds, only, records, seed
        As in :func:`em_model.paper.training.cross_validate`.
    log
        Called with a line a fold.

    Returns
    -------
    dict
        ``{"model", "split", "folds", "seed", "records", "predictions": {band id: eV},
        "intervals_90": {band id: [eV, eV]}}``.
    """
    folder = Path(folder)
    targets = require_barriers(bands)
    source = find_model(name)
    card = read_card(source)
    recipe = fill(ModelRecipe, card["recipe"], f"{source}: card: recipe")
    encoder = source / WEIGHTS if card.get("encoder_sha256") else None
    fold_of = deal_folds(bands, split, folds, seed)
    result: dict[str, Any] = {"predictions": {}, "intervals_90": {}}
    for fold in range(folds) if only is None else only:
        done = folder / f"{name}{result_suffix(split, records)}-fold{fold}.json"
        if not done.exists():
            inside = learning_subset(fold_of, fold, records, seed).tolist()
            outside = np.flatnonzero(fold_of == fold).tolist()
            log(f"{name} fold {fold}: {len(inside)} bands")
            work = done.with_suffix("")
            model = build_model(
                [bands[i] for i in inside], recipe, work, name=name, encoder=encoder, log=log
            )
            found = model.predict([bands[i] for i in outside])
            error = np.abs(np.array([p.barrier_ev for p in found]) - targets[outside]).mean()
            log(f"{name} fold {fold}: MAE {error:.3f} eV on {len(outside)} bands")
            content = {
                "predictions": {p.id: round(p.barrier_ev, 5) for p in found},
                "intervals_90": {
                    p.id: [round(v, 5) for v in p.interval_90_ev or ()] for p in found
                },
            }
            part = done.with_suffix(".part")
            part.write_text(json.dumps(content))
            part.replace(done)
            shutil.rmtree(work)
        for key, values in json.loads(done.read_text()).items():
            result[key] |= values
    about = {"model": name, "split": split, "folds": folds, "seed": seed, "records": records}
    return about | result
