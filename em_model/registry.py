"""Models by name: ours and imported ones behind one door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from em_model.evaluate import Predictor
from em_model.predictor import KIND, BandModel, find_model, known_models, read_card


def open_model(name_or_path: str | Path, device: str = "auto") -> Predictor:
    """Load any model: an ensemble of ours or an imported checkpoint.

    Raises
    ------
    BadInput
        When there is no such model or its files are damaged.
    """
    folder = find_model(name_or_path)
    if read_card(folder).get("kind", KIND) == KIND:
        return BandModel.load(folder, device)
    from em_model.paper.checkpoint import PublishedPredictor

    return PublishedPredictor(folder, device)


def describe_models() -> list[dict[str, Any]]:
    """Name, kind, identity and cross-validated figures of every known model."""
    rows = []
    for name, folder in known_models().items():
        card = read_card(folder)
        measured = card.get("cross_validation", {})
        rows.append(
            {
                "name": name,
                "kind": card.get("kind", KIND),
                "sha256": card.get("sha256"),
                "cv_mae_ev": measured.get("mae_ev"),
                "cv_r2": measured.get("r2"),
                "cv_good_accuracy": measured.get("good_accuracy"),
                "bands": card.get("data", {}).get("bands"),
                "folder": str(folder),
            }
        )
    return rows
