"""Refuse a screen that cannot run before anything is written."""

from __future__ import annotations

from collections import Counter

from em_model.predictor import BandModel
from workflows.neb_plan import neb_plan
from workflows.spec import NEB_STAGES, ScreenSpec
from workflows.stages.candidates import candidate_docs, nothing_left

_LOCAL_SOURCES = {"catalogue", "files"}
"""Sources that answer at once; the others are asked once only, by the screen itself."""


def preflight(screen: ScreenSpec) -> None:
    """Check models, engines and, where it is cheap, that a candidate is left.

    Raises
    ------
    BadInput
        One line with the remedy.
    """
    for level in NEB_STAGES:
        if screen.neb_options(level) is not None:
            neb_plan(screen, level)
    screen.candidates.check()
    if screen.candidates.source in _LOCAL_SOURCES:
        refused: Counter[str] = Counter()
        doc = None
        for _, doc in candidate_docs(screen):
            if doc and doc.status == "ok":
                break
            refused[(doc.rejected_by if doc else None) or "failed"] += 1
        else:
            raise nothing_left(refused, doc)
    BandModel.load(screen.score.model)
