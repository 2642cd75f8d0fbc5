"""A path of more than a document can hold: it goes to the additional store, by rule."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from bson import BSON
from pymongo.errors import DocumentTooLarge
from sites import MongoServer

from stores.documents import BarrierDoc
from stores.screen_store import open_store
from workflows.provenance import provenance
from workflows.stages.neb import _path

LIMIT = 16 * 2**20


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_large_trajectory(kind, tmp_path, wire_server: MongoServer):
    uri = str(tmp_path / "store") if kind == "folder" else f"{wire_server.uri}/large"
    rng = np.random.default_rng(1)
    cell = np.eye(3) * 20
    images = [
        Atoms("Li" * 1000, positions=rng.uniform(0, 20, (1000, 3)), cell=cell, pbc=True)
        for _ in range(400)
    ]
    content = _path(images, None)
    assert len(BSON.encode(content)) > LIMIT

    doc = BarrierDoc(
        barrier_id="large",
        hop_id="hop",
        candidate_id="host:Li",
        material_id="host",
        working_ion="Li",
        level="mlip",
        status="done",
        barrier_ev=0.3,
        interval_90_ev=(0.1, 0.5),
        blob_id="large",
        provenance=provenance(),
    )
    with open_store(uri) as store:
        store.save_blob("large", content)
        store.put([doc])
        kept = store.get(BarrierDoc, barrier_id="large")
        assert kept.blob_id == "large"
        back = store.load_blob(kept.blob_id)
        assert len(back["images"]) == len(images)
        np.testing.assert_array_equal(back["images"][-1]["positions_ang"], images[-1].positions)
        [row] = store.barriers._collection.find({})
        assert len(json.dumps(row, default=str)) < 10_000
        if kind == "server":
            with pytest.raises(DocumentTooLarge):
                store.barriers._collection.insert_one({"_id": "no", **content})
