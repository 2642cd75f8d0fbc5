"""Measure the stores.

    python benchmarks/stores.py peers --documents 10000,100000
    python benchmarks/stores.py loss --runs 4
    python benchmarks/stores.py writers
    python benchmarks/stores.py screen --store mongodb://127.0.0.1:27017/bench --materials 100000

``peers``, ``loss`` and ``writers`` compare the embedded collection with others of the same
interface, as far as they are installed (litemongo, neosqlite). ``screen`` fills a store with a
synthetic screen and times what people do; without ``--store`` it starts a server of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Run as a script, this file must not stand in the way of the package of its name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

PEERS = ("hopscreen", "litemongo", "neosqlite")
INDEXED = ("barrier_ev", "candidate_id", "working_ion", "band_gap_ev", "energy_above_hull_ev")
WALL = time.perf_counter
FILTER = {"working_ion": "Li", "band_gap_ev": {"$gt": 2}, "energy_above_hull_ev": {"$lt": 0.02}}


def open_peer(name: str, folder: Path) -> tuple[Any, Any]:
    """Return a collection and the class of its bulk updates."""
    if name == "neosqlite":
        import neosqlite

        return neosqlite.Connection(str(folder / "x.db"))["c"], neosqlite.UpdateOne
    from pymongo import UpdateOne

    if name == "litemongo":
        import litemongo

        return litemongo.connect(f"file://{folder}")["db"]["c"], UpdateOne
    from stores.sqlite_collection import SqliteDatabase

    return SqliteDatabase(folder / "store.sqlite")["c"], UpdateOne


def installed() -> list[str]:
    return [n for n in PEERS if n == "hopscreen" or importlib.util.find_spec(n)]


def synthetic(number: int, rng: random.Random) -> dict[str, Any]:
    """A document of the size of a ranked material."""
    return {
        "_id": f"m{number:07d}:Li",
        "candidate_id": f"m{number:07d}:Li",
        "working_ion": rng.choice(["Li", "Na", "Mg"]),
        "barrier_ev": rng.uniform(0, 2),
        "band_gap_ev": rng.uniform(0, 6),
        "energy_above_hull_ev": rng.uniform(0, 0.1),
        "screens": ["a", "b"][: rng.randint(0, 2)],
        "limits": {
            d: {"barrier_ev": rng.random(), "limiting_hop_id": "x" * 16, "alternatives": ["y"] * 3}
            for d in "123"
        },
        "provenance": {"versions": dict.fromkeys("abcdefgh", "1.0"), "at": datetime.now(UTC)},
    }


def find(collection: Any, criteria: dict, sort: list, limit: int) -> list:
    return list(collection.find(criteria).sort(sort).limit(limit))


def find_ours(collection: Any, criteria: dict, sort: list, limit: int) -> list:
    return list(collection.find(criteria, sort=sort, limit=limit))


def milliseconds(
    action: Callable[[], Any], repeats: int = 3, clock: Callable[[], float] = time.process_time
) -> float:
    """Return the best of several times; processor time, so that a busy machine matters less."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        action()
        best = min(best, clock() - start)
    return best * 1e3


def measure(name: str, count: int, folder: Path) -> list[float]:
    """Return the figures of one store, in the order of the headings."""
    c, update_one = open_peer(name, folder)
    other, _ = open_peer(name, folder)
    page = find_ours if name == "hopscreen" else find
    rng = random.Random(0)
    rows = [synthetic(i, rng) for i in range(count)]
    start = time.process_time()
    for field in INDEXED:
        c.create_index(field)
    for i in range(0, count, 1000):
        c.insert_many(rows[i : i + 1000])
    insert = time.process_time() - start
    middle = {"_id": rows[count // 2]["_id"]}

    def touch(row: dict[str, Any]) -> Any:
        return update_one({"_id": row["_id"]}, {"$set": {"x": rng.random()}})

    def read_after_write() -> float:
        other.update_one(middle, {"$set": {"touched": rng.random()}})
        start = time.process_time()
        c.find_one(middle)
        return (time.process_time() - start) * 1e3

    return [
        insert,
        milliseconds(lambda: c.update_one(middle, {"$set": {"x": rng.random()}})),
        milliseconds(lambda: c.bulk_write([touch(row) for row in rows[:1000]])),
        milliseconds(lambda: page(c, FILTER, [("barrier_ev", 1), ("candidate_id", 1)], 20)),
        milliseconds(lambda: page(c, {}, [("barrier_ev", 1)], 20)),
        milliseconds(lambda: c.count_documents({"working_ion": "Li", "barrier_ev": {"$lt": 0.35}})),
        min(read_after_write() for _ in range(3)),
        milliseconds(
            lambda: list(c.aggregate([{"$group": {"_id": "$working_ion", "n": {"$sum": 1}}}])),
            repeats=1,
        ),
    ]


def peers(counts: list[int]) -> None:
    headings = (
        "insert all / s", "update one", "update 1000", "first page", "top 20", "count",
        "read after another's write", "aggregate",
    )  # fmt: skip
    print("milliseconds of processor time, but for the insertion")
    print("documents | store | " + " | ".join(headings))
    for count in counts:
        for name in installed():
            with tempfile.TemporaryDirectory() as folder:
                figures = measure(name, count, Path(folder))
            print(f"{count} | {name} | " + " | ".join(f"{f:.2f}" for f in figures), flush=True)


_KILLED = """
import sys
sys.path[:0] = [sys.argv[3]]
from pathlib import Path
from benchmarks.stores import open_peer

c, _ = open_peer(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
for i in range(10**6):
    c.insert_one({"_id": str(i), "x": i, "text": "x" * 500})
    print(i, flush=True)
"""


def loss(runs: int) -> None:
    root = str(Path(__file__).parents[1])
    print("store | run | said to be written | found after kill -9")
    for name in installed():
        for run in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                process = subprocess.Popen(
                    [sys.executable, "-c", _KILLED, name, folder, root],
                    stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(random.Random(run).uniform(0.2, 1.5))
                process.send_signal(signal.SIGKILL)
                said = [line for line in process.stdout.read().splitlines() if line.isdigit()]
                process.wait()
                c, _ = open_peer(name, Path(folder))
                kept = sum(c.find_one({"_id": number}) is not None for number in said)
                print(f"{name} | {run} | {len(said)} | {kept}", flush=True)


_WRITER = """
import sys
sys.path[:0] = [sys.argv[3]]
from pathlib import Path
from benchmarks.stores import open_peer

c, _ = open_peer(sys.argv[1], Path(sys.argv[2]))
for i in range(500):
    c.update_one({"_id": f"{sys.argv[4]}-{i}"}, {"$set": {"x": i}}, upsert=True)
    c.update_one({"_id": "shared"}, {"$inc": {"n": 1}}, upsert=True)
"""


def writers() -> None:
    root = str(Path(__file__).parents[1])
    print("store | two writers: documents kept of 1000 | increments kept of 1000 | s")
    for name in installed():
        with tempfile.TemporaryDirectory() as folder:
            c, _ = open_peer(name, Path(folder))
            c.update_one({"_id": "shared"}, {"$set": {"n": 0}}, upsert=True)
            start = time.perf_counter()
            processes = [
                subprocess.Popen([sys.executable, "-c", _WRITER, name, folder, root, str(k)])
                for k in range(2)
            ]
            codes = [process.wait() for process in processes]
            took = time.perf_counter() - start
            kept = c.count_documents({"x": {"$exists": True}})
            n = c.find_one({"_id": "shared"})["n"]
            print(f"{name} | {kept} | {n} | {took:.1f}" + ("" if codes == [0, 0] else " failed"))


@contextmanager
def server() -> Iterator[str]:
    from secantus import SecantusDBServer

    with tempfile.TemporaryDirectory() as folder:
        running = SecantusDBServer(storage_path=folder)
        running.start()
        try:
            yield f"{running.uri.rstrip('/')}/bench"
        finally:
            running.stop()


def screen(uri: str, materials: int, hops: int) -> None:
    """Fill a store with a synthetic screen; time a ranking page and an incremental build."""
    from stores import queries
    from stores.builder import RankBuilder
    from stores.documents import BarrierDoc, CandidateDoc, HopDoc, Provenance
    from stores.ranking import rank_materials
    from stores.screen_store import open_store

    rng = random.Random(0)
    origin = Provenance(versions={"hopscreen": "bench"})
    edges = [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)]

    def barrier(hop_id: str, material: str, level: Any) -> BarrierDoc:
        value = rng.uniform(0.1, 2)
        return BarrierDoc(
            barrier_id=f"{hop_id}-{level}", hop_id=hop_id, candidate_id=f"{material}:Li",
            material_id=material, working_ion="Li", level=level, status="done", barrier_ev=value,
            interval_90_ev=(value - 0.1, value + 0.1), provenance=origin,
        )  # fmt: skip

    def documents() -> Iterator[CandidateDoc | HopDoc | BarrierDoc]:
        for number in range(materials):
            material = f"m{number:07d}"
            yield CandidateDoc(
                candidate_id=f"{material}:Li", material_id=material, source="bench",
                formula=f"LiX{number}", working_ion="Li", screens=["bench"],
                band_gap_ev=rng.uniform(0, 6), energy_above_hull_ev=rng.uniform(0, 0.1),
                provenance=origin,
            )  # fmt: skip
            for place in range(hops):
                hop_id = f"{material}-{place}"
                yield HopDoc(
                    hop_id=hop_id, candidate_id=f"{material}:Li", material_id=material,
                    working_ion="Li", sites=(0, 0), translation=(1, 0, 0), length_ang=3.0,
                    multiplicity=1, edges=[edges[place % 3]], dimension=1, recipe_version=1,
                    provenance=origin,
                )  # fmt: skip
                yield barrier(hop_id, material, "band")

    def told(what: str, seconds: float) -> None:
        print(f"{what}: {seconds:.2f} s" if seconds > 1 else f"{what}: {seconds * 1e3:.1f} ms")
        sys.stdout.flush()

    with open_store(uri) as store:
        start = time.perf_counter()
        count = store.put(documents())
        told(f"{count} documents written", time.perf_counter() - start)
        start = time.perf_counter()
        rank_materials(store)
        told(f"{materials} materials ranked from scratch", time.perf_counter() - start)
        where = {"band_gap_ev": {"$gt": 2}, "energy_above_hull_ev": {"$lt": 0.02}}
        pages = {
            "first page of the ranking": {},
            "first page, filtered": {"where": where},
            "first page, filtered, sorted by band gap": {
                "where": where,
                "sort": {"band_gap_ev": -1},
            },
            "page 500": {"skip": 10000},
        }
        for name, how in pages.items():
            told(
                name, milliseconds(lambda how=how: queries.ranked(store, 20, **how), 5, WALL) / 1e3
            )
        told(
            "count of a filter",
            milliseconds(lambda: queries.count_ranked(store, where), 5, WALL) / 1e3,
        )
        told("summary", milliseconds(lambda: queries.summary(store), 1, WALL) / 1e3)
        store.marks.update([{"name": "rank_builder", "began": datetime.now(UTC)}])
        builder = RankBuilder(store.uri)
        for source in (store.candidates, store.hops, store.barriers):
            source._collection.update_many({}, {"$set": {"last_updated": datetime(2026, 1, 1)}})
        changed = rng.sample(range(materials), min(1000, materials))
        store.put(barrier(f"m{number:07d}-0", f"m{number:07d}", "mlip") for number in changed)
        start = time.perf_counter()
        builder.connect()
        builder.update_targets([builder.process_item(item) for item in builder.get_items()])
        builder.finalize()
        told(f"incremental build of {len(changed)} changes", time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("peers", help="speed, beside other embedded stores")
    command.add_argument("--documents", default="10000,100000")
    command = commands.add_parser("loss", help="documents lost under kill -9")
    command.add_argument("--runs", type=int, default=4)
    commands.add_parser("writers", help="two processes writing at once")
    command = commands.add_parser("screen", help="a whole screen in a folder or on a server")
    command.add_argument("--store", help="folder or URI; a server of its own where left out")
    command.add_argument("--materials", type=int, default=10000)
    command.add_argument("--hops", type=int, default=10, help="per material")
    given = parser.parse_args()
    if given.command == "peers":
        peers([int(n) for n in given.documents.split(",")])
    elif given.command == "loss":
        loss(given.runs)
    elif given.command == "writers":
        writers()
    elif given.store:
        screen(given.store, given.materials, given.hops)
    else:
        with server() as uri:
            screen(uri, given.materials, given.hops)


if __name__ == "__main__":
    main()
