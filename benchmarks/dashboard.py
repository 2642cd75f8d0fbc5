"""Time the pages of the dashboard over a large synthetic store, through its real server.

    python benchmarks/dashboard.py                          # a folder
    python benchmarks/dashboard.py --backend mongodb        # starts a MongoDB-wire server
    python benchmarks/dashboard.py --materials 10000

The store holds one ranked material, one hop and one estimate per candidate; barriers, gaps and
hulls are drawn at random from a fixed seed. Each page is asked for five times, a slow one once; the
median is printed, with the size of the answer. Times are processor time of everything involved:
dashboard, embedded store or MongoDB-wire server, and the client, which costs next to nothing.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

# Run as a script, this folder must not stand in the way of the packages of the same names.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

from launch.dashboard.server import make_server  # noqa: E402
from stores.documents import (  # noqa: E402
    BarrierDoc,
    CandidateDoc,
    DimensionLimit,
    Provenance,
    RankedDoc,
)
from stores.pages import set_rungs  # noqa: E402
from stores.screen_store import ScreenStore, open_store  # noqa: E402

IONS = ("Li", "Na", "K", "Mg", "Ca", "Zn")
ELEMENTS = ("Al", "Cl", "Co", "F", "Fe", "Mn", "Ni", "O", "P", "S", "Se", "Si", "Ti", "Zr")
ORIGIN = Provenance(versions={"hopscreen": "benchmark"})

ONCE_S = 2.0
"""A page that takes longer is asked for once."""

PAGES: dict[str, dict[str, str]] = {
    "first page": {},
    "ion, gap, hull": {"ion": "Li", "min_gap": "2", "max_hull": "0.02"},
    "formula begins with": {"q": "LiCo"},
    "with and without elements": {"with": "S", "without": "Co Ni"},
    "sorted by diffusivity": {"sort": "diffusivity", "order": "desc"},
    "sorted by gap": {"sort": "gap"},
    "upper end of interval": {"max_upper": "0.3"},
    "conducts in 3D": {"conducts": "3"},
    "last page": {"page": "1000000"},
}


def fill(store: ScreenStore, materials: int) -> None:
    """Write a synthetic screen."""
    rng = random.Random(0)
    batch: list[CandidateDoc | BarrierDoc | RankedDoc] = []
    for number in range(materials):
        ion, name = rng.choice(IONS), f"m{number:07d}"
        others = sorted(rng.sample(ELEMENTS, 2))
        formula = f"{ion}{others[0]}{others[1]}{rng.randint(2, 9)}"
        barrier, half = rng.lognormvariate(-0.6, 0.6), rng.uniform(0.05, 0.5)
        bounds = (max(0.0, barrier - half), barrier + half)
        dimensions = rng.randint(1, 3)
        about = {"candidate_id": f"{name}:{ion}", "material_id": name, "working_ion": ion}
        level = rng.choices(["band", "mlip", "dft"], [100, 5, 1])[0]
        batch += [
            CandidateDoc(
                **about, formula=formula, source="benchmark", hops_status="done", provenance=ORIGIN
            ),
            BarrierDoc(
                **about, barrier_id=f"b{number}", hop_id=f"h{number}", level=level, status="done",
                barrier_ev=barrier, interval_90_ev=bounds, provenance=ORIGIN,
            ),
            RankedDoc(
                **about, formula=formula, barrier_ev=barrier, interval_90_ev=bounds, level=level,
                dimension=1, limiting_hop_id=f"h{number}", temperature_k=300,
                limits={
                    str(d): DimensionLimit(
                        dimension=d, barrier_ev=barrier, interval_90_ev=bounds,
                        limiting_hop_id=f"h{number}", level=level,
                    )
                    for d in range(1, dimensions + 1)
                },
                diffusivity_cm2_s=1e-3 * 10 ** (-17 * barrier),
                diffusivity_interval_90_cm2_s=(0.0, 1.0), num_hops=1,
                elements=sorted({ion, *others}), band_gap_ev=rng.uniform(0, 6),
                energy_above_hull_ev=rng.uniform(0, 0.1), cost_usd_per_kg=rng.uniform(1, 100),
                hazard=rng.randint(0, 3), source="benchmark", provenance=ORIGIN,
            ),
        ]  # fmt: skip
        if len(batch) >= 6000:
            store.put(batch)
            batch.clear()
    store.put(batch)
    set_rungs(store, materials)  # as a build does


@contextmanager
def place(backend: str, folder: Path) -> Iterator[str]:
    """Yield the address of a new store."""
    if backend == "folder":
        yield str(folder / "screen")
        return
    from secantus import SecantusDBServer

    server = SecantusDBServer(storage_path=str(folder / "server"))
    server.start()
    try:
        yield f"{server.uri.rstrip('/')}/screen"
    finally:
        server.stop()


def ask(port: int, path: str) -> tuple[float, int]:
    """Return the processor seconds that a page took, and its bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1200)
    started = time.process_time()
    connection.request("GET", path)
    answer = connection.getresponse()
    size = len(answer.read())
    seconds = time.process_time() - started
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return seconds, size


def main() -> None:
    """Fill, serve, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--materials", type=int, default=100_000)
    parser.add_argument("--backend", choices=["folder", "mongodb"], default="folder")
    chosen = parser.parse_args()
    paths = {name: f"/?{urlencode(asked)}" for name, asked in PAGES.items()}
    paths |= {
        "material": f"/material?{urlencode({'id': 'm0000007'})}",
        "funnel, counted anew": "/funnel",
        "parity": "/parity",
        "jobs": "/jobs",
        "CSV of the filtered table": "/ranking.csv?ion=Li&min_gap=2&max_hull=0.02",
        "CSV of all": "/ranking.csv",
    }
    with tempfile.TemporaryDirectory() as name, place(chosen.backend, Path(name)) as uri:
        started = time.process_time()
        with open_store(uri) as store:
            fill(store, chosen.materials)
        print(
            f"{chosen.materials} materials on {chosen.backend}, "
            f"filled in {time.process_time() - started:.0f} s",
            flush=True,
        )
        with open_store(uri, create=False) as store, make_server(store) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ask(server.port, "/")
            for title, path in paths.items():
                times = [ask(server.port, path)]
                if times[0][0] < ONCE_S:
                    times += [ask(server.port, path) for _ in range(4)]
                # The funnel keeps its counts for a while: only the first is counted.
                seconds = [t for t, _ in times[: 1 if "anew" in title else None]]
                median = 1000 * statistics.median(seconds)
                print(f"{title:28} {median:9.0f} ms {times[0][1] / 1024:9.0f} kB", flush=True)
            server.shutdown()


if __name__ == "__main__":
    main()
