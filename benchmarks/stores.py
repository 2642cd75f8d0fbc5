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
FORMULAS = ("LiCoO2", "LiFePO4", "Li3PS4", "Li7La3Zr2O12", "LiMn2O4", "Li2MnO3", "Li3InCl6")
EDGES = [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)]
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


def screen(uri: str, materials: int, hops: int, *, questions: bool) -> None:
    """Fill a store with a synthetic screen; time what people ask, and an incremental build."""
    from stores import queries
    from stores.builder import RankBuilder
    from stores.calibration import calibrate
    from stores.pages import set_rungs
    from stores.pareto import pareto
    from stores.rank_note import RankNote
    from stores.ranking import rank_materials
    from stores.screen_store import open_store

    made = SyntheticScreen(materials, hops)
    some = min(1000, materials)
    print("what | time | of that on a processor (client and server)")
    with open_store(uri) as store:
        with timed("documents written"):
            for name, rows in made.batches():
                getattr(store, name)._collection.insert_many(rows)
        for name in ("candidates", "hops", "barriers"):
            print(f"{name} | {getattr(store, name).count()}")
        with timed("calibration"):
            calibrations = calibrate(store)
        for row in calibrations.as_rows():
            print(f"calibrated | {row}")
        with timed(f"{some} materials ranked from scratch"):
            rank_materials(store, candidate_ids=made.names(some))
        # The others like these, so that the machine need not rank for an hour.
        patterns = list(store.ranked._collection.find({}))
        for rows in made.ranked(patterns, some):
            store.ranked._collection.insert_many(rows)
        print(f"ranked | {store.ranked.count()}")
        RankNote(datetime.now(UTC), calibrations=calibrations).write(store)
        with timed("rungs of the pages set anew"):
            set_rungs(store, materials)
        where = {"band_gap_ev": {"$gt": 2}, "energy_above_hull_ev": {"$lt": 0.02}}
        rare = {"elements": {"$nin": ["Co"]}, "hazard": 0, "band_gap_ev": {"$gt": 5.9}}
        text = {"formula": {"$regex": "^Li2"}, "levels_disagree": True}
        asked: dict[str, Callable[[], Any]] = {
            "first page of the ranking": lambda: queries.ranked(store, 20),
            "first page, filtered": lambda: queries.ranked(store, 20, where),
            "first page, rare filter": lambda: queries.ranked(store, 20, rare),
            "first page, filtered by text": lambda: queries.ranked(store, 20, text),
            "first page, filtered, by band gap": lambda: queries.ranked(
                store, 20, where, sort={"band_gap_ev": -1}
            ),
            "page 500": lambda: queries.ranked(store, 20, skip=10000),
            "count of a filter": lambda: queries.count_ranked(store, where),
            "one material": lambda: queries.look_up(store, "m0000001"),
            "Pareto front of a filter": lambda: pareto(store, where=where),
        }
        for name, ask in asked.items() if questions else ():
            once = milliseconds(ask, 1)
            rounds = 5 if once < 1000 else 1
            busy = milliseconds(ask, rounds)
            print(f"{name} | {milliseconds(ask, rounds, WALL):.1f} ms | {busy:.1f} ms", flush=True)
        if questions:
            with timed("summary"):
                queries.summary(store)
        for _ in range(3):
            store.put(list(made.dearer(store, some)))
            with timed(f"incremental build after {some} new barriers"):
                build(RankBuilder(uri))


def build(builder: Any) -> None:
    looked_at = max(builder.build(), default=0)
    print(f"looked at {looked_at}, changed {builder.changed}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    start, busy = WALL(), time.process_time()
    yield
    print(f"{what} | {WALL() - start:.1f} s | {time.process_time() - busy:.1f} s", flush=True)


class SyntheticScreen:
    """A screen of random barriers: two band models for each hop, and a NEB for one in fifty."""

    def __init__(self, materials: int, hops: int) -> None:
        from stores.documents import Provenance

        self.materials, self.hops = materials, hops
        self.rng = random.Random(0)
        self.old = datetime(2026, 1, 1)
        self.origin = {
            name: Provenance(versions={"hopscreen": "bench"}, model={"name": name})
            for name in ("band A", "band B", "mlip")
        }

    def names(self, count: int) -> list[str]:
        """The ids of the first candidates."""
        return [f"m{number:07d}:Li" for number in range(count)]

    def batches(self, size: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield collections and their documents, a few hundred materials at a time."""
        likeness = {
            "candidates": self.candidate(0).model_dump(),
            "hops": self.hop(0, 0).model_dump(),
            **{name: self.barrier(0, 0, name, 0.0).model_dump() for name in self.origin},
        }

        def row(kind: str, key: str, number: int, **fields: Any) -> dict[str, Any]:
            mine = {"candidate_id": f"m{number:07d}:Li", "material_id": f"m{number:07d}"}
            named = {"_id": fields[key], "last_updated": self.old}
            return {**likeness[kind], **mine, **fields, **named}

        for start in range(0, self.materials, size):
            found: dict[str, list[dict[str, Any]]] = {"candidates": [], "hops": [], "barriers": []}
            for number in range(start, min(start + size, self.materials)):
                found["candidates"].append(
                    row("candidates", "candidate_id", number, **self.host(number))
                )
                for place in range(self.hops):
                    hop_id = f"m{number:07d}-{place}"
                    edge = EDGES[place % 3]
                    found["hops"].append(
                        row("hops", "hop_id", number, hop_id=hop_id, edges=[edge],
                            translation=edge[2:])
                    )  # fmt: skip
                    cheap = self.rng.uniform(0.1, 2)
                    for name in self.origin:
                        if name == "mlip" and (number * self.hops + place) % 50:
                            continue
                        doc = self.estimate(hop_id, name, cheap)
                        found["barriers"].append(row(name, "barrier_id", number, **doc))
            yield from found.items()

    def ranked(self, patterns: list[dict[str, Any]], first: int) -> Iterator[list[dict[str, Any]]]:
        """Yield rankings of the other materials, each like one of the first."""
        for start in range(first, self.materials, 500):
            rows = []
            for number in range(start, min(start + 500, self.materials)):
                pattern = patterns[number % len(patterns)]
                material = f"m{number:07d}"
                barrier_ev = pattern["barrier_ev"] * self.rng.uniform(0.9, 1.1)
                rows.append(
                    {**pattern, "_id": f"{material}:Li", "candidate_id": f"{material}:Li",
                     "material_id": material, "barrier_ev": barrier_ev,
                     "band_gap_ev": self.rng.uniform(0, 6),
                     "energy_above_hull_ev": self.rng.uniform(0, 0.1)}
                )  # fmt: skip
            yield rows

    def host(self, number: int) -> dict[str, Any]:
        """What differs between candidates."""
        return {
            "candidate_id": f"m{number:07d}:Li", "formula": FORMULAS[number % len(FORMULAS)],
            "band_gap_ev": self.rng.uniform(0, 6),
            "energy_above_hull_ev": self.rng.uniform(0, 0.1),
        }  # fmt: skip

    def candidate(self, number: int) -> Any:
        """One candidate."""
        from stores.documents import CandidateDoc

        return CandidateDoc(
            material_id=f"m{number:07d}", source="bench", working_ion="Li", screens=["bench"],
            hops_status="done", provenance=self.origin["band A"], **self.host(number),
        )  # fmt: skip

    def hop(self, number: int, place: int) -> Any:
        """One hop."""
        from stores.documents import HopDoc

        edge = EDGES[place % 3]
        return HopDoc(
            hop_id=f"m{number:07d}-{place}", candidate_id=f"m{number:07d}:Li",
            material_id=f"m{number:07d}", working_ion="Li", sites=(0, 0), translation=edge[2:],
            length_ang=3.0, multiplicity=1, edges=[edge], dimension=1, recipe_version=1,
            provenance=self.origin["band A"],
        )  # fmt: skip

    def estimate(self, hop_id: str, name: str, cheap: float) -> dict[str, Any]:
        """What differs between barriers."""
        # The dear level lies 0.2 eV above the cheap ones, with a spread.
        value = max(0.0, cheap + self.rng.gauss(0.2 if name == "mlip" else 0.0, 0.1))
        return {
            "barrier_id": f"{hop_id}-{name}", "hop_id": hop_id, "barrier_ev": value,
            "interval_90_ev": (max(0.0, value - 0.3), value + 0.3),
        }  # fmt: skip

    def barrier(self, number: int, place: int, name: str, cheap: float) -> Any:
        """One estimate."""
        from stores.documents import BarrierDoc

        return BarrierDoc(
            candidate_id=f"m{number:07d}:Li", material_id=f"m{number:07d}", working_ion="Li",
            level="mlip" if name == "mlip" else "band", status="done", settings={"model": name},
            provenance=self.origin[name], **self.estimate(f"m{number:07d}-{place}", name, cheap),
        )  # fmt: skip

    def dearer(self, store: Any, count: int) -> Iterator[Any]:
        """Yield new NEB barriers of hops of as many materials, as far from the cheap ones."""
        from stores.documents import BarrierDoc

        for number in self.rng.sample(range(self.materials), count):
            cheap = store.get(BarrierDoc, barrier_id=f"m{number:07d}-1-band A")
            yield self.barrier(number, 1, "mlip", cheap.barrier_ev)


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
    command.add_argument("--materials", type=int, default=100000)
    command.add_argument("--hops", type=int, default=5, help="per material")
    command.add_argument("--no-questions", action="store_true", help="time the builds alone")
    given = parser.parse_args()
    if given.command == "peers":
        peers([int(n) for n in given.documents.split(",")])
    elif given.command == "loss":
        loss(given.runs)
    elif given.command == "writers":
        writers()
    elif given.store:
        screen(given.store, given.materials, given.hops, questions=not given.no_questions)
    else:
        with server() as uri:
            screen(uri, given.materials, given.hops, questions=not given.no_questions)


if __name__ == "__main__":
    main()
