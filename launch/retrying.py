"""Put failures back to waiting."""

from __future__ import annotations

from launch.run_log import forget
from stores.documents import BarrierDoc, CandidateDoc, Level
from stores.screen_store import ScreenStore

_LEVELS: dict[str, Level] = {"score": "band", "mace_neb": "mlip", "dft_neb": "dft"}


def forget_failures(store: ScreenStore, stage: str | None = None) -> dict[str, int]:
    """Delete failed documents, so that their calculations are wanting again.

    Parameters
    ----------
    store
        Open for writing; no run may be at work on it.
    stage
        ``candidates``, ``hops``, ``score``, ``mace_neb`` or ``dft_neb``; all where None.

    Returns
    -------
    dict
        Stage → how many failures were forgotten. If there are any, the memory of all runs is
        forgotten too: their stages look again at what is there, and find all but these.
    """
    counts: dict[str, int] = {}
    if stage in (None, "candidates"):
        failed = {"status": "failed"}
        counts["candidates"] = store.count(CandidateDoc, failed)
        store.candidates.remove_docs(failed)
    if stage in (None, "hops"):
        hosts = list(store.find(CandidateDoc, {"hops_status": "failed"}))
        waiting = {"hops_status": "waiting", "hops_settings": None, "error": None}
        counts["hops"] = store.put(doc.model_copy(update=waiting) for doc in hosts)
    for name, level in _LEVELS.items():
        if stage in (None, name):
            failed = {"level": level, "status": "failed"}
            counts[name] = store.count(BarrierDoc, failed)
            store.barriers.remove_docs(failed)
    if any(counts.values()):
        forget(store.runs)
    return counts
