"""The ranking builder: incremental, idempotent, runnable by mrun."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from stores.builder import RankBuilder
from stores.queries import ranked
from stores.ranking import rank_materials

X, Y = (0, 0, 1, 0, 0), (0, 0, 0, 1, 0)


def _add(store, samples, material, value, edges=(X,)):
    hop = samples.hop(f"{material}-x", list(edges), material)
    store.put([samples.candidate(material), hop, samples.barrier(hop, "band", value)])
    return hop


def _run(builder):
    for _ in builder.build():
        pass
    return builder.changed


def _ranking(store):
    docs = ranked(store, sort={"candidate_id": 1})
    return [doc.model_dump(exclude={"provenance"}) for doc in docs]


def _age_documents(store):
    """Make all documents old, so that the builder's margin for clocks is over."""
    for collection in (store.candidates, store.hops, store.barriers):
        collection._collection.update_many({}, {"$set": {"last_updated": datetime(2026, 1, 1)}})


def test_it_builds_what_rank_materials_does(store, samples):
    for material, value in {"a": 0.3, "b": 0.1, "c": None}.items():
        _add(store, samples, material, value)
    _run(RankBuilder(store.uri))
    built = _ranking(store)
    assert [doc["candidate_id"] for doc in built] == ["a:Li", "b:Li"]
    store.ranked.remove_docs({})
    rank_materials(store)
    assert _ranking(store) == built


def test_only_what_changed_is_looked_at(store, samples):
    for material, value in {"a": 0.3, "b": 0.1, "c": 0.2}.items():
        hop = _add(store, samples, material, value)
    _run(RankBuilder(store.uri))
    _age_documents(store)
    assert RankBuilder(store.uri).stale() == []
    before = list(store.ranked.query({}, sort={"_id": 1}))
    _run(RankBuilder(store.uri))
    assert list(store.ranked.query({}, sort={"_id": 1})) == before
    _age_documents(store)
    store.put([samples.barrier(hop, "dft", 0.9)])
    assert RankBuilder(store.uri).stale() == ["c:Li"]
    assert RankBuilder(store.uri, rebuild=True).stale() == ["a:Li", "b:Li", "c:Li"]
    _run(RankBuilder(store.uri))
    assert [(doc["candidate_id"], doc["rank"], doc["level"]) for doc in _ranking(store)] == [
        ("a:Li", 2, "band"), ("b:Li", 1, "band"), ("c:Li", 3, "dft"),
    ]  # fmt: skip


def test_other_settings_make_it_stale(store, samples):
    _add(store, samples, "a", 0.3, edges=(X, Y))
    _add(store, samples, "b", 0.1)
    _run(RankBuilder(store.uri))
    _age_documents(store)
    assert RankBuilder(store.uri, temperature_k=400).stale() == ["a:Li", "b:Li"]
    _run(RankBuilder(store.uri, dimension=2))
    assert [doc["candidate_id"] for doc in _ranking(store)] == ["a:Li"]


def test_any_order_of_changes_gives_the_same_ranking(store, samples):
    rng = random.Random(0)
    changes = [(f"m{n}", level) for n in range(8) for level in ("band", "mlip", "dft")]
    rng.shuffle(changes)
    for place, (material, level) in enumerate(changes):
        hop = samples.hop(f"{material}-x", [X], material)
        value = (int(material[1]) * 7 + len(level)) % 10 / 10
        store.put([samples.candidate(material), hop, samples.barrier(hop, level, value)])
        if place % 6 == 0:
            _run(RankBuilder(store.uri))
    _run(RankBuilder(store.uri))
    incremental = _ranking(store)
    store.ranked.remove_docs({})
    rank_materials(store)
    assert _ranking(store) == incremental


@pytest.mark.parametrize("processes", [1, 2])
def test_mrun(store, samples, tmp_path, processes):
    _add(store, samples, "a", 0.3)
    builder = RankBuilder(store.uri, temperature_k=500)
    file = tmp_path / "rank.json"
    file.write_text(json.dumps(builder.as_dict()))
    mrun = Path(sys.executable).with_name("mrun")
    done = subprocess.run(
        [mrun, "-n", str(processes), "--no_bars", file],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [doc["temperature_k"] for doc in _ranking(store)] == [500], done.stderr
