"""Speed of the band model beside the published route: ``python benchmarks/em_model.py --help``.

All contenders score the same bands in one run, in turns, on one thread; seconds are CPU seconds,
so that other work on the machine disturbs the ratios little. The published route is the graph of
jarvis-tools and ALIGNN on DGL at published size where the extra ``dgl`` is installed, with random
weights (speed does not depend on them), and always our port of both.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

# This folder is first on the path of its scripts, where this file hides the package of the same
# name from itself and from its neighbours: leave the path, and give way when taken for it.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
if __name__ == "em_model":
    del sys.modules["em_model"]
    importlib.import_module("em_model")

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("DGLBACKEND", "pytorch")

import argparse  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import fields  # noqa: E402
from hashlib import sha256  # noqa: E402
from statistics import median  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

from em_model.data import Band, read_bands  # noqa: E402
from em_model.graphs import Graph, GraphSettings  # noqa: E402
from em_model.graphs import band_graph as make_graph  # noqa: E402
from em_model.paper.jarvis_graph import band_graph, collate  # noqa: E402
from em_model.paper.published import PublishedModel3  # noqa: E402

Contender = Callable[[list[Band]], object]


def published_port() -> Contender:
    model = PublishedModel3().eval()

    def score(bands: list[Band]) -> object:
        with torch.inference_mode():
            return [model(collate([band_graph(band)])).item() for band in bands]

    return score


def published_dgl() -> Contender:
    from alignn.models.alignn import ALIGNN, ALIGNNConfig
    from jarvis.core.atoms import Atoms
    from jarvis.core.graphs import Graph

    model = ALIGNN(ALIGNNConfig(name="alignn")).eval()

    def score(bands: list[Band]) -> object:
        found = []
        for band in bands:
            atoms = Atoms(band.lattice, band.frac_coords, list(band.species), cartesian=False)
            g, lg = Graph.atom_dgl_multigraph(atoms, cutoff=6.0, use_canonize=True)
            with torch.inference_mode():
                found.append(model((g, lg, torch.eye(3))).item())
        return found

    return score


def default_model(name: str) -> Contender:
    from em_model.predictor import BandModel

    model = BandModel.load(name, device="cpu")
    return model.predict


def cubic_band(atoms: int) -> Band:
    """A Li hop in rock salt of about ``atoms`` atoms."""
    n = round((atoms / 8) ** (1 / 3))
    cells = np.array(list(np.ndindex(n, n, n)))
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    li = (base[None] + cells[:, None]).reshape(-1, 3) / n
    f = (base[None] + 0.5 + cells[:, None]).reshape(-1, 3) / n
    path = li[0] + np.linspace(0, 1, 5)[:, None] * (li[1] - li[0])
    return Band(
        id="rock salt",
        working_ion="Li",
        lattice=np.eye(3) * 4.03 * n,
        species=("Li",) * (len(li) + 3) + ("F",) * len(f),
        frac_coords=np.concatenate([path, li[2:], f]),
    )


def alone(what: str, model: str, atoms: int = 0) -> dict[str, float]:
    """Measure in a process of its own, so that nothing is loaded yet and memory is its alone."""
    command = (
        [sys.executable, "-c", LOAD, model]
        if what == "load"
        else [sys.executable, __file__, "--alone", what, model, str(atoms)]
    )
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(out.stdout.splitlines()[-1]))


LOAD = """
import json, sys, time
start = time.process_time()
from em_model.predictor import BandModel
imported = time.process_time()
BandModel.load(sys.argv[1], device="cpu")
print(json.dumps({"import_s": imported - start, "load_s": time.process_time() - imported}))
"""
ROOT = Path(__file__).resolve().parents[1]


def peak_mb() -> float:
    """Peak memory of this process; getrusage would count the parent's before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [row for row in status.read_text().splitlines() if row.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large_band(route: str, model: str, atoms: int) -> dict[str, float]:
    """Seconds and memory of one band of ``atoms`` atoms, beyond one of about 200."""
    contender = published_port() if route == "port" else default_model(model)
    contender([cubic_band(200)])
    before = peak_mb()
    band = cubic_band(atoms)
    start = time.process_time()
    contender([band])
    return {
        "atoms": len(band.species),
        "cpu_s": time.process_time() - start,
        "peak_mb": peak_mb(),
        "beyond_small_band_mb": peak_mb() - before,
    }


def race(contenders: dict[str, Contender], bands: list[Band], rounds: int) -> dict[str, float]:
    """CPU seconds per path of each contender, the median of rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for score in contenders.values():
        score(bands[:1])
    for _ in range(rounds):
        for name, score in contenders.items():
            start = time.process_time()
            score(bands)
            seconds[name].append((time.process_time() - start) / len(bands))
    return {name: median(values) for name, values in seconds.items()}


def graph_cost(bands: list[Band], settings: GraphSettings) -> dict[str, float]:
    """CPU seconds a band: its graph made, and the same read back from disk by content hash.

    What a cache on disk would save, and what it would take up.
    """
    start = time.process_time()
    graphs = [make_graph(band, settings) for band in bands]
    made = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:

        def place(band: Band) -> Path:
            digest = sha256(np.ascontiguousarray(band.frac_coords).tobytes())
            digest.update(np.ascontiguousarray(band.lattice).tobytes())
            digest.update(repr((band.species, band.band_sites, settings)).encode())
            return Path(folder) / f"{digest.hexdigest()}.safetensors"

        for band, graph in zip(bands, graphs, strict=True):
            arrays = {f.name: np.ascontiguousarray(getattr(graph, f.name)) for f in fields(graph)}
            save_file(arrays, place(band))
        start = time.process_time()
        for band in bands:
            Graph(**load_file(place(band)))
        read = time.process_time() - start
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    n = len(bands)
    return {"made_s": made / n, "read_s": read / n, "kilobytes": size / n / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="bands, .jsonl.gz; left out: rock-salt bands")
    parser.add_argument("--paths", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="default")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.alone:
        route, model, atoms = asked.alone
        print(json.dumps(large_band(route, model, int(atoms))))
        return

    if asked.data:
        known = sorted(read_bands(asked.data), key=lambda band: len(band.species))
        # Evenly over all sizes, so that the mix is that of the data.
        bands = [known[i] for i in np.linspace(0, len(known) - 1, asked.paths).astype(int)]
    else:
        bands = [cubic_band(atoms) for atoms in (64, 216)] * (asked.paths // 2)
    contenders = {
        f"{asked.model}, with interval": default_model(asked.model),
        "published, our port": published_port(),
    }
    if importlib.util.find_spec("dgl"):
        contenders["published, jarvis + DGL"] = published_dgl()
    slowest = list(contenders)[-1]
    seconds = race(contenders, bands, asked.rounds)
    from em_model.predictor import BandModel

    report = {
        "paths": len(bands),
        "mean_atoms": float(np.mean([len(b.species) for b in bands])),
        "reference": slowest,
        "routes": {
            name: {"cpu_s_per_path": s, "paths_per_s": 1 / s, "times_faster": seconds[slowest] / s}
            for name, s in seconds.items()
        },
        "large_band": {
            asked.model: alone("default", asked.model, 1000),
            "published, our port": alone("port", asked.model, 1000),
        },
        "load": alone("load", asked.model),
        "graphs": graph_cost(bands, BandModel.load(asked.model, device="cpu").graph),
    }
    if asked.format == "json":
        print(json.dumps(report, indent=1))
        return
    print(f"{len(bands)} paths of {report['mean_atoms']:.0f} atoms on average, one thread")
    print(f"{'route':28}{'s/path':>10}{'paths/s':>10}{'times ' + slowest:>34}")
    for name, row in report["routes"].items():
        print(
            f"{name:28}{row['cpu_s_per_path']:10.4f}{row['paths_per_s']:10.1f}"
            f"{row['times_faster']:34.1f}"
        )
    for name, row in report["large_band"].items():
        print(
            f"band of {row['atoms']} atoms, {name}: {row['cpu_s']:.2f} s, peak "
            f"{row['peak_mb']:.0f} MB ({row['beyond_small_band_mb']:.0f} MB beyond one of 200)"
        )
    graphs = report["graphs"]
    print(
        f"a graph: made in {1e3 * graphs['made_s']:.2f} ms, read from disk in "
        f"{1e3 * graphs['read_s']:.2f} ms ({graphs['kilobytes']:.0f} kB); "
        f"{graphs['made_s'] / seconds[next(iter(seconds))]:.0%} of a prediction"
    )
    print(f"import {report['load']['import_s']:.2f} s, load {report['load']['load_s']:.2f} s (CPU)")


if __name__ == "__main__":
    main()
