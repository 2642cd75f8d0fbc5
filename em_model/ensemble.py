"""Making a band model: members for each fold, forests, calibration, card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from em_model.conformal import KINDS, MIN_GROUP, Calibration, Evidence, cross_calibrated
from em_model.data import Band, host_folds, require_barriers
from em_model.errors import BadInput
from em_model.evaluate import metrics
from em_model.features import path_features
from em_model.finetuning import (
    FinetuneRecipe,
    Member,
    States,
    finetune_member,
    load_trunk,
    pooled_states,
    training_states,
)
from em_model.predictor import BandModel, Domain, shipped_folder
from em_model.tabular import Tabular
from em_model.training import Log, pick_device
from em_model.trees import TreeSettings


@dataclass(frozen=True)
class ModelRecipe(FinetuneRecipe):
    """A fine-tuning recipe and the forest's; ``networks`` True adds fine-tuned read-outs."""

    networks: bool = False
    forest: TreeSettings = field(default_factory=TreeSettings)


def build_model(
    bands: Sequence[Band],
    recipe: ModelRecipe,
    folder: Path,
    *,
    name: str,
    encoder: Path | None = None,
    data: dict[str, Any] | None = None,
    device: str = "auto",
    log: Log | None = None,
) -> BandModel:
    """Train, cross-validate and calibrate a model; write it to ``folder``.

    Finished members and checkpoints in ``folder/work`` are taken up, so the same call goes on
    after a crash.

    Parameters
    ----------
    bands
        Training bands with barriers.
    recipe
        Settings and seeds.
    folder
        Of the model; ``model.safetensors``, ``card.json`` and ``card.md`` go there.
    name
        Of the model.
    encoder
        Pre-trained encoder, None to start from scratch.
    data
        What the card says about the data (file names, hashes).

    Raises
    ------
    BadInput
        When ``folder`` holds a shipped model, bands are too few or have no barriers.
    """
    if shipped_folder().resolve() in folder.resolve().parents and (folder / "card.json").exists():
        raise BadInput(f"{folder}: holds a shipped model; name another folder")
    barriers = require_barriers(bands)
    folds = host_folds(bands, recipe.folds, recipe.split_seed)
    if len(np.unique(folds)) < recipe.folds:
        raise BadInput(f"data: {recipe.folds} folds need bands of as many hosts, at least")
    paths = np.array([path_features(b) for b in bands])
    true_roots = np.sqrt(np.maximum(barriers, 0.0))
    roots, spread = np.full((len(bands), len(KINDS)), np.nan), np.empty(len(bands))
    trunk, pools, copies = None, None, []
    if encoder is not None:
        count = recipe.copies if recipe.networks else 1
        if log:
            log(f"running {count} x {len(bands)} bands through the pre-trained trunk")
        trunk = load_trunk(encoder, recipe.network, pick_device(device))
        copies = training_states(bands, replace(recipe, copies=count), trunk)
        pools = pooled_states(copies[0][0])
    elif recipe.networks:
        raise BadInput("encoder: missing; networks need one of `em pretrain` (--encoder)")
    tabulars = []
    for k in range(recipe.folds + 1):
        # Fold numbers end below recipe.folds: the last one learns from all bands.
        seen, unseen = np.flatnonzero(folds != k).tolist(), np.flatnonzero(folds == k).tolist()
        if log:
            log(f"forest and Gaussian process {k + 1} of {recipe.folds + 1}")
        tabular = Tabular.fit(
            [bands[i] for i in seen],
            paths[seen],
            None if pools is None else pools[seen],
            true_roots[seen],
            recipe.forest,
            recipe.seed * 1000 + k,
        )
        tabulars.append(tabular)
        if unseen:
            roots[unseen, 1], spread[unseen], roots[unseen, 2] = tabular.roots(
                [bands[i] for i in unseen], paths[unseen], None if pools is None else pools[unseen]
            )
    members: list[Member] = []
    for k in range(recipe.folds + 1 if recipe.networks and encoder else 0):
        seen, unseen = np.flatnonzero(folds != k).tolist(), np.flatnonzero(folds == k).tolist()
        part = [([s[i] for i in seen], f[seen]) for s, f in copies]
        member = _member(
            k, [bands[i] for i in seen], part, recipe, folder / "work", encoder, device, log
        )
        if unseen:
            roots[unseen, 0] = member.roots([copies[0][0][i] for i in unseen], paths[unseen])
        members.append(member)
    evidence = Evidence(roots, spread, tuple(b.working_ion for b in bands))
    model = BandModel(
        name=name,
        sha256="",
        card={
            "data": {**(data or {}), "bands": len(bands), "hosts": len({b.host for b in bands})},
            "recipe": asdict(recipe),
            "encoder_sha256": sha256(encoder.read_bytes()).hexdigest() if encoder else None,
            "versions": {
                p: version(p) for p in ("hopscreen", "numpy", "scikit-learn", "scipy", "torch")
            },
            "cross_validation": cross_validation(evidence, barriers, folds),
        },
        trunk=trunk,
        members=tuple(members[: recipe.folds]),
        whole=members[-1] if members else None,
        tabular=tabulars[-1],
        fold_tabulars=tuple(tabulars[:-1]),
        calibration=Calibration.fit(evidence, barriers),
        domain=Domain.fit(bands, paths),
        graph=recipe.graph,
    )
    model.save(folder)
    saved = BandModel.load(folder, device)
    (folder / "card.md").write_text(card_text(saved), encoding="utf-8")
    return saved


def _member(
    k: int,
    bands: Sequence[Band],
    copies: Sequence[tuple[Sequence[States], np.ndarray]],
    recipe: ModelRecipe,
    work: Path,
    encoder: Path | None,
    device: str,
    log: Log | None,
) -> Member:
    done = work / f"member{k}.safetensors"
    if not done.exists() and encoder is not None:
        member = finetune_member(
            bands,
            copies,
            recipe,
            encoder,
            work / f"fold{k}",
            seed=recipe.seed * 1000 + k,
            device=device,
            log=(lambda line: log(f"member {k + 1} of {recipe.folds + 1}: {line}"))
            if log
            else None,
        )
        member.save(done, {"fold": str(k)})
    # Read back even when fresh: what is calibrated is what is shipped, in half precision.
    return Member.load(done, recipe.network, pick_device(device))


def out_of_fold(
    model: BandModel, bands: Sequence[Band]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the model said in cross-validation about the bands it was trained on.

    Returns
    -------
    tuple
        Barriers (n,) and 90 % intervals (n, 2) in eV, fold of each band (n,).

    Raises
    ------
    BadInput
        When these are other bands than the model's.
    """
    trained = model.card.get("data", {}).get("bands")
    if trained != len(bands):
        raise BadInput(
            f"model {model.name}: was trained on {trained} bands and the data has {len(bands)}; "
            "give its own training data"
        )
    recipe = model.card["recipe"]
    folds = host_folds(bands, recipe["folds"], recipe["split_seed"])
    roots, spread = np.empty((len(bands), len(KINDS))), np.empty(len(bands))
    for fold in range(recipe["folds"]):
        rows = np.flatnonzero(folds == fold).tolist()
        _, evidence = model.evidence([bands[i] for i in rows], fold=fold)
        roots[rows], spread[rows] = evidence.roots, evidence.spread
    whole = Evidence(roots, spread, tuple(band.working_ion for band in bands))
    values, intervals = cross_calibrated(whole, require_barriers(bands), folds)
    return values, intervals, folds


def cross_validation(evidence: Evidence, barriers: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Host-grouped figures: the mix, each kind of member alone, coverage by ion.

    The mix of a fold is chosen, and its intervals calibrated, on the other folds.
    """
    value, interval = cross_calibrated(evidence, barriers, folds)
    out = metrics(value, barriers, interval)
    out["coverage_by_ion"] = {}
    ions = np.array(evidence.ions)
    covered = (barriers >= interval[:, 0]) & (barriers <= interval[:, 1])
    for ion, count in sorted(Counter(evidence.ions).items()):
        if count >= MIN_GROUP:
            out["coverage_by_ion"][ion] = {
                "n": count,
                "coverage": float(covered[ions == ion].mean()),
            }
    kinds = {k: r for k, r in zip(KINDS, evidence.roots.T, strict=True) if np.isfinite(r).all()}
    out["members"] = {
        kind: {k: metrics(np.maximum(r, 0.0) ** 2, barriers)[k] for k in _SHORT}
        for kind, r in kinds.items()
    }
    return out


_SHORT = ("mae_ev", "median_error_ev", "r2", "good_accuracy")


def card_text(model: BandModel) -> str:
    """The model card for people, in Markdown."""
    cv, data = model.card["cross_validation"], model.card["data"]
    rows = [("mix", cv), *sorted(cv["members"].items())]
    table = "\n".join(
        f"| {kind} | {r['mae_ev']:.3f} | {r['median_error_ev']:.3f} | {r['r2']:.3f} "
        f"| {100 * r['good_accuracy']:.1f} % |"
        for kind, r in rows
    )
    coverage = ", ".join(
        f"{ion} {100 * c['coverage']:.1f} % of {c['n']}" for ion, c in cv["coverage_by_ion"].items()
    )
    made_of = "extremely randomised trees and a Gaussian process on features of the path"
    if model.trunk is not None:
        made_of += (
            ";\n  the process also sees the states that an edge-gated graph network, pre-trained on"
            "\n  bulk crystals, gives to the path's sites, their surroundings and bonds"
        )
    if model.members:
        made_of += f";\n  {len(model.members) + 1} fine-tuned read-outs of that network"
    shares = ", ".join(
        f"{kind} {share:.2f}" for kind, share in zip(KINDS, model.calibration.shares, strict=True)
    )
    versions = ", ".join(f"{k} {v}" for k, v in model.card["versions"].items())
    commands = "\n".join(data.get("commands", []))
    return f"""# Band model `{model.name}`

Predicts the migration barrier of an ion, as a DFT-NEB calculation would give it, from an
unrelaxed band: the host and five sites of the ion on the straight line between its end sites.

- **Learned from** {data["bands"]} literature barriers in {data["hosts"]} hosts
  ({data.get("source", "see the recipe")}).
- **Made of** {made_of};
  mixed on √barrier with shares {shares}.
- **Weights** SHA-256 `{model.sha256}`.

## Cross-validated by host ({model.card["recipe"]["folds"]} folds)

No host of a fold's test part stands in its training part, in any state of charge, polymorph or
with another ion. Mix and intervals of a fold are fitted on the other folds.

| | MAE (eV) | median error (eV) | R² | good/bad at 0.65 eV |
|---|---|---|---|---|
{table}

Coverage of the 90 % intervals: {100 * cv["interval_coverage_90"]:.1f} % overall; {coverage}.
Median width {cv["interval_width_ev"]:.2f} eV.

## Limits

Barriers above 1.5 eV are under-predicted. Elements, ions or geometries outside the training set
are flagged (`in_domain` false), their intervals are not calibrated.

## Made with

{versions}.

```
{commands}
```
"""
