"""A change of the documents' fields raises the version of the schema."""

from __future__ import annotations

from typing import Any

import pytest

from stores.documents import SCHEMA_VERSION, BarrierDoc, HopDoc, RankedDoc
from stores.hashing import content_hash
from stores.queries import ranked
from stores.ranking import rank_materials
from stores.screen_store import COLLECTIONS

FIELDS = {2: "c08627ebf36622f6"}
"""Version → hash of all documents' fields and types."""

X = (0, 0, 1, 0, 0)


def _fields(schema: Any) -> Any:
    """Leave out what is written for people."""
    if isinstance(schema, dict):
        return {k: _fields(v) for k, v in schema.items() if k not in ("title", "description")}
    return [_fields(one) for one in schema] if isinstance(schema, list) else schema


def test_the_fields_are_those_of_this_version():
    schemas = {model.__name__: _fields(model.model_json_schema()) for model in COLLECTIONS}
    for schema in schemas.values():
        schema["properties"].pop("schema_version")
    assert content_hash(schemas) == FIELDS.get(SCHEMA_VERSION), (
        "the fields of a document changed. An older hopscreen must refuse such stores: raise "
        "stores.documents.SCHEMA_VERSION, say in stores.migrate.STEPS how the documents change, "
        f"and add this here: {SCHEMA_VERSION + 1}: {content_hash(schemas)!r} (before the first "
        "release of a version, put it in the place of the old one)"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"barrier_ev": None}, "done without"),
        ({"interval_90_ev": None}, "done without"),
        ({"barrier_ev": 9.0}, "barrier_ev 9.0 outside of interval_90_ev"),
        ({"barrier_ev": float("nan")}, "barrier_ev nan outside"),
        ({"level": "guess"}, "level: "),
        ({"provenance": "me"}, "provenance: "),
    ],
)
def test_a_broken_barrier_is_named_and_the_others_are_ranked(store, samples, caplog, change, words):
    for name, value in (("a", 0.3), ("b", 0.1)):
        hop = samples.hop(name, [X], name)
        store.put([samples.candidate(name), hop, samples.barrier(hop, "band", value)])
    bad = {"hop_id": "a", "level": change.get("level", "band")}
    store.barriers._collection.update_one({"hop_id": "a"}, {"$set": change})
    assert store.barriers.count(bad) == 1
    assert rank_materials(store) == 1
    assert [doc.material_id for doc in ranked(store)] == ["b"]
    key = samples.barrier(samples.hop("a", [X], "a"), "band", 0.3).barrier_id
    assert any(f"barriers: {key}: {words}" in line for line in caplog.messages), caplog.messages


def test_a_broken_ranking_is_made_anew(store, samples):
    hop = samples.hop("a", [X], "a")
    store.put([samples.candidate("a"), hop, samples.barrier(hop, "band", 0.3)])
    rank_materials(store)
    store.ranked._collection.update_one({}, {"$set": {"level": "guess"}})
    assert ranked(store) == []
    rank_materials(store)
    assert [doc.level for doc in ranked(store)] == ["band"]
    assert store.count(RankedDoc) == store.count(HopDoc) == store.count(BarrierDoc) == 1
