"""The embedded collection against mongomock, which knows what MongoDB answers."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mongomock_ng import MongoClient as MemoryClient
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure

from stores.sqlite_collection import SqliteDatabase
from stores.sqlite_filter import encode

PATHS = ("a", "b", "n.x", "a.1", "free")  # all indexed but the last
DAYS = [datetime(2026, 1, day, 12, 30, 15, 123000) for day in (1, 2, 3)]

scalars = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 1) + 0.0),
    st.sampled_from(["", "A", "a", "b", "0", "é"]),
    st.sampled_from(DAYS),
    st.sampled_from([ObjectId("0" * 24), ObjectId("1" * 24)]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.just({"k": 1}))
documents = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        "free": values,
        # no scalar: mongomock errs there, MongoDB matches {"n": 0} by {"n.x": None}
        "n": st.fixed_dictionaries({}, optional={"x": values}),
    },
)
operands = st.one_of(
    st.fixed_dictionaries({"$eq": scalars}),
    st.fixed_dictionaries({"$ne": scalars}),
    st.fixed_dictionaries({"$in": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    *(
        st.fixed_dictionaries({sign: scalars.filter(lambda v: v is not None)})
        for sign in ("$gt", "$gte", "$lt", "$lte")
    ),
    st.fixed_dictionaries({"$gte": st.integers(-3, 3), "$lt": st.integers(-3, 3)}),
    st.fixed_dictionaries({"$not": st.fixed_dictionaries({"$gt": st.integers(-3, 3)})}),
    scalars,
)
entries = st.dictionaries(st.sampled_from(PATHS), operands, max_size=2)
filters = st.recursive(
    entries,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"$nor": st.lists(inner, min_size=1, max_size=2)}),
    ),
    max_leaves=3,
)
updates = st.one_of(
    st.fixed_dictionaries({"$set": st.fixed_dictionaries({"a": values, "n": st.just({"x": 1})})}),
    st.fixed_dictionaries({"$addToSet": st.fixed_dictionaries({"list": scalars})}),
    st.fixed_dictionaries({"$inc": st.fixed_dictionaries({"count": st.integers(-2, 2)})}),
    st.fixed_dictionaries({"$unset": st.just({"b": ""})}),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = SqliteDatabase(tmp_path_factory.mktemp("sqlite") / "x.sqlite")
    database["c"].create_index("a")
    database["c"].create_index([("b", 1), ("n.x", -1)])
    return database


@pytest.fixture
def collection(database):
    database["c"].delete_many({})
    return database["c"]


def _both(database, rows):
    ours, theirs = database["c"], MemoryClient().db.c
    ours.delete_many({})
    rows = [{"_id": i, **row} for i, row in enumerate(rows)]
    ours.insert_many([dict(row) for row in rows])
    if rows:
        theirs.insert_many([dict(row) for row in rows])
    return ours, theirs


fast = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@fast
@given(rows=st.lists(documents, max_size=6), criteria=filters)
def test_a_filter_selects_what_mongomock_selects(database, rows, criteria):
    ours, theirs = _both(database, rows)
    expected = list(theirs.find(criteria))
    assert list(ours.find(criteria)) == expected
    assert ours.count_documents(criteria) == len(expected)
    ids = [row["_id"] for row in ours.find(criteria, {"_id": 1}, sort=[("_id", 1)])]
    assert ids == sorted(row["_id"] for row in expected)


@fast
@given(
    rows=st.lists(st.fixed_dictionaries({"a": st.integers(-2, 2), "free": st.integers(-2, 2)})),
    order=st.permutations(["a", "free", "_id"]),
    signs=st.lists(st.sampled_from([1, -1]), min_size=3, max_size=3),
    skip=st.integers(0, 4),
    limit=st.integers(0, 4),
    projection=st.sampled_from(
        [None, {"a": 1}, {"a": 1, "_id": 0}, {"free": 1}, {"_id": 1}, {"a": 0}, ["a", "free"]]
    ),
)
def test_pages_are_mongomocks(database, rows, order, signs, skip, limit, projection):
    ours, theirs = _both(database, rows)
    how = {"skip": skip, "limit": limit, "sort": list(zip(order, signs, strict=True))}
    criteria = {"a": {"$gte": -1}}
    expected = list(theirs.find(criteria, projection, **how))
    assert list(ours.find(criteria, projection, **how)) == expected


@fast
@given(
    rows=st.lists(documents, max_size=4),
    criteria=entries.filter(lambda e: all(not isinstance(v, dict) for v in e.values())),
    update=updates,
    kind=st.sampled_from([UpdateOne, UpdateMany]),
)
def test_updates_are_mongomocks(database, rows, criteria, update, kind):
    ours, theirs = _both(database, rows)
    done = ours.bulk_write([kind(criteria, update)])
    name = "update_one" if kind is UpdateOne else "update_many"
    expected = getattr(theirs, name)(criteria, update)
    assert list(ours.find({})) == list(theirs.find({}))
    assert done.matched_count == expected.matched_count


def test_upserts_and_deletions(collection):
    done = collection.bulk_write(
        [
            InsertOne({"_id": 1, "a": 1}),
            UpdateOne({"_id": 2}, {"$set": {"a": 2}, "$addToSet": {"b": {"$each": [1]}}}, True),
            UpdateOne({"a": 3}, {"$setOnInsert": {"_id": 3}}, upsert=True),
            ReplaceOne({"_id": 4}, {"a": 4}, upsert=True),
            ReplaceOne({"a": 1}, {"a": 5}),
            DeleteOne({"a": 3}),
        ]
    )
    rows = [{"_id": 1, "a": 5}, {"_id": 2, "a": 2, "b": [1]}, {"_id": 4, "a": 4}]
    assert list(collection.find({})) == rows
    assert (done.upserted_count, done.modified_count, done.deleted_count) == (3, 1, 1)
    assert collection.bulk_write([DeleteMany({"a": {"$gt": 3}})]).deleted_count == 2
    assert collection.count_documents({}) == 1


def test_a_failed_batch_writes_nothing(collection):
    with pytest.raises(DuplicateKeyError, match="c: 1: UNIQUE"):
        collection.insert_many([{"_id": 0}, {"_id": 1}, {"_id": 1}])
    assert collection.count_documents({}) == 0


def test_numbers_come_back_bit_by_bit(collection):
    row = {"_id": 0, "a": 0.1 + 0.2, "b": 1 / 3, "n": {"x": 5e-324}}
    collection.insert_one(dict(row))
    collection.update_one({"_id": 0}, {"$set": {"free": 0.1 + 0.2}})
    assert collection.find_one({"a": 0.1 + 0.2}) == row | {"free": 0.1 + 0.2}
    assert collection.find_one({"b": {"$lte": 1 / 3}})["_id"] == 0
    assert collection.find_one({"b": {"$lt": 1 / 3}}) is None


def test_what_sqlite_cannot_hold_is_found_all_the_same(collection):
    collection.insert_many([{"_id": 0, "a": float("nan")}, {"_id": 1, "a": {"k": 1}}])
    assert [row["_id"] for row in collection.find({"a": {"k": 1}})] == [1]
    assert [row["_id"] for row in collection.find({"a.k": 1})] == [1]
    assert encode(float("nan")) == encode({"k": 1}) == encode(1 << 70)


def test_many_values_of_in(collection):
    collection.insert_many([{"_id": i, "a": f"s{i}"} for i in range(2000)])
    wanted = [f"s{i}" for i in range(0, 4000, 2)]
    assert collection.count_documents({"a": {"$in": wanted}}) == 1000
    assert collection.count_documents({"_id": {"$in": list(range(1500, 2500))}}) == 500


def test_times_with_a_zone(collection):
    collection.insert_one({"_id": 0, "a": datetime(2026, 1, 1, 12, tzinfo=UTC)})
    assert collection.count_documents({"a": datetime(2026, 1, 1, 12, tzinfo=UTC)}) == 1
    assert collection.count_documents({"a": {"$lt": datetime(2026, 1, 1, 11)}}) == 0


def test_aggregation(database, collection):
    collection.insert_many([{"_id": i, "a": i % 2, "b": [i, i + 1]} for i in range(4)])
    database["other"].delete_many({})
    database["other"].insert_many([{"_id": 0, "name": "even"}, {"_id": 1, "name": "odd"}])
    join = {"from": "other", "localField": "_id", "foreignField": "_id", "as": "names"}
    stages = [
        {"$match": {"_id": {"$gt": 0}}},
        {"$group": {"_id": "$a", "n": {"$sum": 1}}},
        {"$lookup": join},
        {"$sort": {"_id": 1}},
    ]
    found = [
        (row["_id"], row["n"], row["names"][0]["name"]) for row in collection.aggregate(stages)
    ]
    assert found == [(0, 1, "even"), (1, 2, "odd")]
    assert sorted(collection.distinct("b", {"a": 0})) == [0, 1, 2, 3]
    assert sorted(collection.distinct("a")) == [0, 1]


@pytest.mark.parametrize(
    "criteria",
    [{"$where": "this.a"}, {"$or": [{"$where": "1"}]}, {"a": {"$wrong": 1}}, {"$wrong": []}],
)
def test_code_and_unknown_operators_are_refused(collection, criteria):
    with pytest.raises(OperationFailure):
        collection.find(criteria)


def test_code_in_a_pipeline_is_refused(collection):
    stage = {"$project": {"x": {"$function": {"body": "x", "args": [], "lang": "js"}}}}
    with pytest.raises(OperationFailure, match="not allowed"):
        collection.aggregate([stage])


def test_an_index_covers_what_is_there_already(collection):
    collection.insert_many([{"_id": i, "late": [i, "x"]} for i in range(3)])
    assert collection.create_index("late") == collection.create_index([("late", 1)])
    assert "late_1" in collection.index_information()
    assert [row["_id"] for row in collection.find({"late": {"$gte": 1}})] == [1, 2]
    assert collection.count_documents({"late": "x"}) == 3


def test_queries_use_the_indexes(database, collection):
    condition = collection._compile({"a": {"$gt": 1}, "b": "x"})
    assert condition.exact
    plan = database.connection.execute(
        f'EXPLAIN QUERY PLAN SELECT id FROM "c" WHERE {condition.sql}', condition.params
    ).fetchall()
    assert "SEARCH c USING" in plan[0][3]


def test_threads_have_their_own_connections(collection):
    errors = []

    def work(number):
        try:
            for i in range(50):
                collection.insert_one({"_id": f"{number}-{i}"})
                collection.find_one({"_id": f"{number}-{i}"})
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert collection.count_documents({}) == 200
