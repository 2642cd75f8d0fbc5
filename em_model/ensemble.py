"""Making a band model: descriptors, members for each fold, calibration, card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from em_model.conformal import KINDS, MIN_GROUP, Calibration, Evidence, cross_calibrated
from em_model.data import Band, assign_hosts, host_folds, require_barriers
from em_model.descriptors import describe
from em_model.errors import BadInput
from em_model.evaluate import metrics
from em_model.graphs import GraphSettings, band_graph
from em_model.network import NetworkSettings
from em_model.predictor import BandModel, Domain, shipped_folder
from em_model.tabular import Tabular
from em_model.training import Log, pick_device
from em_model.trees import TreeSettings
from em_model.trunk import load_trunk, pooled_states


@dataclass(frozen=True)
class ModelRecipe:
    """Everything that decides a model, besides the data and the pre-trained encoder.

    ``network`` gives the encoder's sizes, ``graph`` how bands are cut for it; ``folds`` and
    ``split_seed`` deal hosts for cross-validation and calibration.
    """

    seed: int = 0
    folds: int = 5
    split_seed: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
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
        Pre-trained encoder, None for a model without.
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
    true_roots = np.sqrt(np.maximum(barriers, 0.0))
    weight = np.array([band.weight for band in bands])
    trunk, pools = None, None
    if encoder is not None:
        if log:
            log(f"running {len(bands)} bands through the pre-trained trunk")
        trunk = load_trunk(encoder, recipe.network, pick_device(device))
        pools = pooled_states(trunk, [band_graph(b, recipe.graph) for b in bands])
    known = describe(bands, pools)
    roots, spread = np.empty((len(bands), len(KINDS))), np.empty(len(bands))
    for k in range(recipe.folds + 1):
        # Fold numbers end below recipe.folds: the last one learns from all bands.
        seen, unseen = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        if log:
            log(f"forest and Gaussian process {k + 1} of {recipe.folds + 1}")
        tabular = Tabular.fit(
            known.rows(seen),
            true_roots[seen],
            weight[seen],
            recipe.forest,
            recipe.seed * 1000 + k,
        )
        if len(unseen):
            roots[unseen], spread[unseen] = tabular.roots(known.rows(unseen))
    evidence = Evidence(roots, spread, tuple(b.working_ion for b in bands))
    model = BandModel(
        name=name,
        sha256="",
        card={
            "data": {
                **(data or {}),
                "bands": len(bands),
                "hosts": len({b.host for b in assign_hosts(bands)}),
                "ids_sha256": _ids_sha256(bands),
            },
            "recipe": asdict(recipe),
            "encoder_sha256": sha256(encoder.read_bytes()).hexdigest() if encoder else None,
            "versions": {
                p: version(p) for p in ("hopscreen", "numpy", "scikit-learn", "scipy", "torch")
            },
            "cross_validation": cross_validation(evidence, barriers, folds),
        },
        trunk=trunk,
        tabular=tabular,
        out_of_fold=evidence.rows(np.argsort([band.id for band in bands])),
        calibration=Calibration.fit(evidence, barriers),
        domain=Domain.fit(bands, known.path),
        graph=recipe.graph,
    )
    model.save(folder)
    saved = BandModel.load(folder, device)
    (folder / "card.md").write_text(card_text(saved), encoding="utf-8")
    return saved


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
    if model.card.get("data", {}).get("ids_sha256") != _ids_sha256(bands):
        raise BadInput(
            f"model {model.name}: was trained on {len(model.out_of_fold.spread)} other bands; "
            f"give its own training data (here: {len(bands)} bands)"
        )
    recipe = model.card["recipe"]
    folds = host_folds(bands, recipe["folds"], recipe["split_seed"])
    # The model keeps its evidence sorted by id.
    place = np.argsort(np.argsort([band.id for band in bands]))
    evidence = model.out_of_fold.rows(place)
    values, intervals = cross_calibrated(evidence, require_barriers(bands), folds)
    return values, intervals, folds


def _ids_sha256(bands: Sequence[Band]) -> str:
    return sha256("\n".join(sorted(band.id for band in bands)).encode()).hexdigest()


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
    out["members"] = {
        kind: {k: metrics(np.maximum(r, 0.0) ** 2, barriers)[k] for k in _SHORT}
        for kind, r in zip(KINDS, evidence.roots.T, strict=True)
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
    made_of = (
        "extremely randomised trees on physical features of the path, and a Gaussian process on"
        "\n  these, on fingerprints of the surroundings and on the composition"
    )
    if model.trunk is not None:
        made_of += (
            ";\n  the process also sees the states that an edge-gated graph network, pre-trained on"
            "\n  bulk crystals, gives to the path's sites, their surroundings and bonds"
        )
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
