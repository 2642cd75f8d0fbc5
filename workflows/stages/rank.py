"""Rank: one document per material from the barriers at all levels."""

from __future__ import annotations

from typing import Any

from jobflow import job

from stores.ranking import rank_materials
from stores.screen_store import open_store
from workflows.progress import Progress
from workflows.spec import ScreenSpec


@job
def rank(spec: dict[str, Any], store_uri: str, after: Any = None) -> dict[str, int]:
    """Bring ``ranked`` up to date for the materials of this screen.

    ``after`` makes this job wait for the estimates; its value is not used.
    """
    screen = ScreenSpec.model_validate(spec)
    with open_store(store_uri) as store:
        count = rank_materials(
            store,
            temperature_k=screen.rank.temperature,
            dimension=screen.hops.dimension,
            screen_id=screen.screen_id,
        )
    Progress("rank").say(f"{count} materials ranked")
    return {"ranked": count}
