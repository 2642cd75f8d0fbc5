"""Measure the cheap stages on thousands of synthetic hosts: time, memory, document counts.

    python benchmarks/scale.py --candidates 500,2000
    python benchmarks/scale.py --candidates 2000,20000 --no-score --server

Hosts are made of the catalogue's by substitution and strain, with a fixed seed, and read from a
store of their own. Each stage runs in a process of its own, so that its peak memory is its own.
``--server`` keeps the results on a MongoDB-wire server (secantusdb, on a free loopback port)
instead of the embedded store. Linear growth shows as equal times per host, flat memory as equal
peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil

# Run as a script, this file must not stand in the way of a package of its name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

ION = "Li"
BY_CHARGE: dict[int, tuple[str, ...]] = {
    2: ("Mg", "Ca", "Sr", "Ba", "Zn", "Mn", "Fe", "Co", "Ni", "Cu"),
    3: ("Al", "Ga", "In", "Sc", "Y", "La", "Nd", "V", "Cr", "Mn", "Fe", "Co", "Bi", "Sb"),
    4: ("Si", "Ge", "Sn", "Ti", "Zr", "Hf", "Mn", "V", "Mo", "Ru", "Ce"),
    5: ("P", "V", "Nb", "Ta", "Sb"),
    -1: ("F", "Cl", "Br", "I"),
    -2: ("O", "S", "Se"),
}
"""Elements that take each other's places."""


def synthetic(count: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield ids and structures of so many hosts, the same ones for the same seed.

    Elements give way to others of their charge, in three hosts of four on up to four more sites
    one by one, which lowers the symmetry; cells are scaled with the size of the elements and
    strained by up to 2 % along each axis in one host of four.
    """
    from pymatgen.core import Element, Lattice, Structure

    from workflows.sources import load_catalogue

    rng = random.Random(seed)
    parents = [
        (record.structure.get_primitive_structure(), record.metadata["oxidation_states"], ion)
        for ion in ("Li", "Na", "K")
        for record in load_catalogue({ion})
        # Of a binary there are but few variants, and duplicates are refused.
        if len(record.structure.composition) > 2
    ]

    def size_of(symbols: list[str]) -> float:
        return sum(float(Element(symbol).atomic_radius or 1.5) ** 3 for symbol in symbols)

    for number in range(count):
        parent, states, ion = rng.choice(parents)
        old = [site.specie.symbol for site in parent]
        change = {ion: ION}
        for symbol in sorted(set(old) - {ion}):
            change[symbol] = rng.choice(BY_CHARGE.get(round(states[symbol]), (symbol,)))
        new = [change[symbol] for symbol in old]
        others = [i for i, symbol in enumerate(old) if round(states[symbol]) in BY_CHARGE]
        for place in rng.sample(others, min(rng.choice((0, 2, 3, 4)), len(others))):
            new[place] = rng.choice(BY_CHARGE[round(states[old[place]])])
        stretch = (size_of(new) / size_of(old)) ** (1 / 6)
        matrix = parent.lattice.matrix * stretch
        if rng.random() < 0.25:
            matrix = matrix * [1 + rng.uniform(-0.02, 0.02) for _ in range(3)]
        yield f"syn-{number:06d}", Structure(Lattice(matrix), new, parent.frac_coords)


def write_hosts(count: int, folder: Path) -> None:
    """Keep the hosts as a past screen would, one page after the other."""
    from stores.documents import CandidateDoc
    from stores.screen_store import open_store
    from workflows.provenance import provenance

    origin = provenance()
    with open_store(str(folder)) as store:
        store.put(
            CandidateDoc(
                candidate_id=f"{name}:{ION}",
                material_id=name,
                source="synthetic",
                formula=host.composition.reduced_formula,
                working_ion=ION,
                structure=host.as_dict(),
                provenance=origin,
            )
            for name, host in synthetic(count)
        )


def run_stage(stage: str, uri: str, hosts: str) -> dict[str, Any]:
    """Run one stage of the flow as its jobs would; return what it cost and what it said."""
    from stores.documents import BarrierDoc, CandidateDoc, HopDoc
    from stores.screen_store import open_store
    from workflows.spec import ScreenSpec
    from workflows.stages.candidates import find_candidates
    from workflows.stages.hops import enumerate_hops
    from workflows.stages.score import score

    screen = ScreenSpec.model_validate(
        {"name": "scale", "working_ion": ION, "candidates": {"source": "store", "uri": hosts}}
    )
    spec = screen.model_dump(mode="json")
    watch = WorkerWatch()
    watch.start()
    wall = time.perf_counter()
    found = find_candidates.original(spec, uri)
    # For the later stages this is the resumed look at what is there, timed as a stage of its own.
    resumed = time.perf_counter() - wall
    if stage not in ("candidates", "again"):
        wall = time.perf_counter()
        job = {"hops": enumerate_hops, "score": score}[stage].original
        for first, last in found["batches"]:
            job(spec, uri, first, last)
    result: dict[str, Any] = {
        "wall_s": time.perf_counter() - wall,
        "resume_s": resumed,
        "ok": found["ok"],
        "refused": found["refused"],
    }
    # Before the store is counted, which is not part of the stage.
    own = resource.getrusage(resource.RUSAGE_SELF)
    result |= {
        "cpu_s": own.ru_utime + own.ru_stime + sum(watch.cpu_s.values()),
        "peak_mb": own.ru_maxrss / 1024,
        "worker_peak_mb": watch.peak_mb,
    }
    with open_store(uri) as store:
        result["documents"] = [store.count(model) for model in (CandidateDoc, HopDoc, BarrierDoc)]
    return result


class WorkerWatch(threading.Thread):
    """Looks at the worker processes, which are children of a fork server and not of this one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.cpu_s: dict[int, float] = {}
        self.peak_mb = 0.0

    def run(self) -> None:
        """Look five times a second until the process ends."""
        me = psutil.Process()
        while True:
            for child in me.children(recursive=True):
                with suppress(psutil.Error):
                    spent = child.cpu_times()
                    self.cpu_s[child.pid] = spent.user + spent.system
                    self.peak_mb = max(self.peak_mb, child.memory_info().rss / 1e6)
            time.sleep(0.2)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A MongoDB-wire server in a process of its own, so that its memory is not counted here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    command = [
        str(Path(sys.executable).with_name("secantusd-py")), "--host", "127.0.0.1",
        "--port", str(port), "--storage-path", str(folder), "--cache-size", "256M",
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def measure(count: int, stages: list[str], base: str | None, folder: Path, own: Path) -> None:
    """Print a line of the table for each stage."""
    hosts = folder / f"hosts-{count}"
    if not hosts.exists():
        # Under another name until it is whole.
        write_hosts(count, hosts.with_suffix(".part"))
        hosts.with_suffix(".part").rename(hosts)
    uri = f"{base}/scale_{count}" if base else str(own / f"screen-{count}")
    for stage in stages:
        told = subprocess.run(
            [sys.executable, __file__, "--stage", stage, "--uri", uri, "--hosts", str(hosts)],
            stdout=subprocess.PIPE, check=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        got = json.loads(told.stdout.splitlines()[-1])
        candidates, hops, barriers = got["documents"]
        print(
            f"| {'server' if base else 'embedded'} | {count} | {stage} | {got['wall_s']:.1f} "
            f"| {got['cpu_s']:.1f} | {got['cpu_s'] / count * 1e3:.1f} "
            f"| {got['peak_mb']:.0f} | {got['worker_peak_mb']:.0f} "
            f"| {candidates} ({got['ok']} ok), {hops}, {barriers} |",
            flush=True,
        )
        if stage == "candidates":
            print(f"  refused: {got['refused']}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", default="500,2000", help="numbers of hosts")
    parser.add_argument("--no-score", action="store_true", help="candidates and hops alone")
    parser.add_argument("--server", action="store_true", help="results on a MongoDB-wire server")
    parser.add_argument("--hosts-in", help="keep the synthetic hosts here for the next run")
    for hidden in ("--stage", "--uri", "--hosts"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(run_stage(given.stage, given.uri, given.hosts)))
        return
    stages = ["candidates", "again", "hops", *([] if given.no_score else ["score"])]
    print(
        "| store | hosts | stage | wall (s) | CPU (s) | CPU per host (ms) | peak (MB) "
        "| peak of a worker (MB) | candidates, hops, barriers |\n|" + "---|" * 9
    )
    with tempfile.TemporaryDirectory() as name:
        own = Path(name)
        folder = Path(given.hosts_in or name)
        folder.mkdir(parents=True, exist_ok=True)
        with server(own / "server") if given.server else nullcontext() as base:
            for count in (int(n) for n in given.candidates.split(",")):
                measure(count, stages, base, folder, own)


if __name__ == "__main__":
    main()
