"""Time and hop sets beside pymatgen-analysis-diffusion's MigrationGraph.

    python benchmarks/hops.py --cutoffs 4.5 6 9 --limit 60 --seconds 60

Hosts are the bundled catalogue and, where the data folder is there (``HOPSCREEN_SHARED`` or
``../shared``), the hosts of the literature bands. Both programs get the same primitive cell and
symprec; times are CPU seconds of one thread. The two agree on a host when they part the same
edges into the same orbits. Where they do not, each difference is settled by a proof that uses
neither program's orbits:

* *distinct*: the distances from five points along the path to the atoms around differ by more
  than 0.05 Å, in either direction: no symmetry turns one hop into the other;
* *same*: an operation of the space group, verified to map the crystal onto itself, turns one
  hop into the other.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.diffusion.neb.full_path_mapper import MigrationGraph
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from em_model.data import read_bands
from workflows.hops import hops_within
from workflows.hosts import SYMPREC_ANG, Unfit, prepare_host, structure_hash
from workflows.sources.catalogue import catalogue_entries, entry_structure

Edge = tuple[int, int, int, int, int]
Orbits = set[frozenset[Edge]]


class OutOfTime(BaseException):
    """MigrationGraph takes too long; no ``except Exception`` on the way may catch this."""


def catalogue_hosts() -> Iterator[tuple[str, str, Structure]]:
    for entry in catalogue_entries():
        yield entry["id"], entry["working_ion"], entry_structure(entry)


def training_hosts() -> Iterator[tuple[str, str, Structure]]:
    """Hosts of the literature bands with both end ions put back, each crystal once."""
    folder = Path(os.environ.get("HOPSCREEN_SHARED", Path(__file__).parents[2] / "shared"))
    path = folder / "data" / "em_barriers_train.jsonl.gz"
    if not path.exists():
        print(f"no {path.name}: catalogue only")
        return
    for band in read_bands(path):
        keep = [band.band_sites[0], band.band_sites[-1], *band.host_sites]
        species = [band.species[k] for k in keep]
        if species.count(band.working_ion) > 2:
            yield (
                f"{band.system or band.framework} ({band.id})",
                band.working_ion,
                Structure(Lattice(band.lattice), species, band.frac_coords[keep]),
            )


def prepared(hosts: Iterator[tuple[str, str, Structure]]) -> Iterator[tuple[str, str, Structure]]:
    seen = set()
    for name, ion, structure in hosts:
        try:
            host = prepare_host(structure, ion)
        except Unfit:
            continue
        if (key := structure_hash(host)) not in seen:
            seen.add(key)
            yield name, ion, host


def canonical(i: int, j: int, a: int, b: int, c: int) -> Edge:
    if i != j:
        return min((i, j, a, b, c), (j, i, -a, -b, -c))
    return max((i, i, a, b, c), (i, i, -a, -b, -c))


def cpu_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and mean CPU time, of as many runs as a clock with a coarse tick needs."""
    start, count = time.process_time(), 0
    while (taken := time.process_time() - start) < 0.2:
        result = work()
        count += 1
    return result, taken / count


def ours(host: Structure, ion: str, cutoff: float) -> tuple[Orbits, float]:
    found, taken = cpu_seconds(lambda: hops_within(host, ion, cutoff))
    return {frozenset(canonical(*edge) for edge in hop.edges) for hop in found.hops}, taken


def theirs(host: Structure, ion: str, cutoff: float, seconds: float) -> tuple[Orbits | None, float]:
    """MigrationGraph's orbits, or None after ``seconds`` of CPU time."""

    def stop(*_: Any) -> None:
        raise OutOfTime

    def run() -> MigrationGraph:
        graph = MigrationGraph.with_distance(host, ion, cutoff, symprec=SYMPREC_ANG)
        assert graph.unique_hops is not None
        return graph

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0)
    try:
        graph, taken = cpu_seconds(run)
    except OutOfTime:
        return None, seconds
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    labels: dict[int, set[Edge]] = defaultdict(set)
    for i, j, data in graph.m_graph.graph.edges(data=True):
        labels[data["hop_label"]].add(canonical(i, j, *(int(x) for x in data["to_jimage"])))
    return {frozenset(edges) for edges in labels.values()}, taken


def ends(host: Structure, edge: Edge) -> np.ndarray:
    i, j, *step = edge
    return np.array([host.frac_coords[i], host.frac_coords[j] + step])


def fingerprint(host: Structure, edge: Edge) -> np.ndarray:
    """Distances to the nearest 24 atoms of each element from five points along the path."""
    start, end = ends(host, edge)
    path = start + np.linspace(0, 1, 5)[:, None] * (end - start)
    rows = []
    for point in host.lattice.get_cartesian_coords(path):
        near = host.get_sites_in_sphere(point, 9.0)
        for element in sorted({site.specie.symbol for site in host}):
            distances = sorted(n.nn_distance for n in near if n.specie.symbol == element)
            rows.append(([*distances, *[9.0] * 24])[:24])
    return np.array(rows).reshape(5, -1)


def proven_distinct(host: Structure, one: Edge, other: Edge) -> bool:
    a, b = fingerprint(host, one), fingerprint(host, other)
    return bool(min(np.abs(a - b).max(), np.abs(a - b[::-1]).max()) > 0.05)


def proven_same(host: Structure, one: Edge, other: Edge) -> bool:
    target = ends(host, other)
    for operation in SpacegroupAnalyzer(host, symprec=SYMPREC_ANG).get_symmetry_operations():
        image = operation.operate_multi(ends(host, one))
        for pair in (image, image[::-1]):
            away = pair - target
            shift = np.round(away[0])
            if np.abs((away - shift) @ host.lattice.matrix).max() < 0.05:
                return maps_onto_itself(host, operation)
    return False


def maps_onto_itself(host: Structure, operation: Any) -> bool:
    moved = Structure(host.lattice, host.species, operation.operate_multi(host.frac_coords))
    distances = host.lattice.get_all_distances(moved.frac_coords, host.frac_coords)
    nearest = distances.argmin(axis=1)
    same = [host[int(k)].specie == moved[n].specie for n, k in enumerate(nearest)]
    return bool(distances.min(axis=1).max() < 0.05 and all(same))


def verdict(host: Structure, mine: Orbits, other: Orbits) -> str:
    """Settle every difference between two partitions of the edges."""
    found: dict[str, int] = defaultdict(int)
    my_edges, other_edges = set().union(*mine), set().union(*other)
    found["edges that only MigrationGraph has"] = len(other_edges - my_edges)
    found["edges that MigrationGraph has not"] = len(my_edges - other_edges)
    mine_of = {edge: orbit for orbit in mine for edge in orbit}
    other_of = {edge: orbit for orbit in other for edge in orbit}
    for orbit in other:
        parts = sorted({min(mine_of[edge]) for edge in orbit if edge in mine_of})
        for one, two in pairwise(parts):
            proof = proven_distinct(host, one, two)
            found[
                f"hops merged by MigrationGraph, {'proven' if proof else 'NOT proven'} distinct"
            ] += 1
    for orbit in mine:
        parts = sorted({min(other_of[edge]) for edge in orbit if edge in other_of})
        for one, two in pairwise(parts):
            proof = proven_same(host, one, two)
            found[
                f"hops split by MigrationGraph, {'proven' if proof else 'NOT proven'} the same"
            ] += 1
    return "; ".join(f"{count} {what}" for what, count in sorted(found.items()) if count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[4.5, 6.0, 9.0], help="in Å")
    parser.add_argument("--hosts", choices=["catalogue", "training", "both"], default="both")
    parser.add_argument("--limit", type=int, help="hosts of each set")
    parser.add_argument("--only", default="", help="hosts with this in their name")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="CPU time given to MigrationGraph for a host"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sets = {"catalogue": catalogue_hosts, "training": training_hosts}
    summary = []
    for name, hosts_of in sets.items():
        if options.hosts not in (name, "both"):
            continue
        hosts = list(prepared(host for host in hosts_of() if options.only in host[0]))
        if options.limit:
            # Spread over the set rather than its beginning.
            hosts = hosts[:: max(1, len(hosts) // options.limit)][: options.limit]
        for cutoff in options.cutoffs if hosts else ():
            ratios, times = [], []
            agree = differ = late = 0
            for host_name, ion, host in hosts:
                mine, own = ours(host, ion, cutoff)
                times.append(own)
                other, taken = theirs(host, ion, cutoff, options.seconds)
                if mine:
                    # Without a hop there is nothing to tell apart, and no time to compare.
                    ratios.append(taken / own)
                if other is None:
                    late += 1
                    said = f"MigrationGraph not done after {taken:.0f} s"
                elif mine == other:
                    agree += 1
                    said = "same orbits"
                else:
                    differ += 1
                    said = verdict(host, mine, other)
                print(
                    f"{cutoff:4.1f} Å {host_name:28.28s} {len(host):4d} atoms {len(mine):4d} hops "
                    f"{own * 1e3:8.1f} ms {taken * 1e3:10.1f} ms  {said}",
                    flush=True,
                )
            summary.append(
                f"| {name} | {cutoff:g} | {len(hosts)} | {agree} | {differ} | {late} "
                f"| {statistics.median(times) * 1e3:.1f} | {max(times) * 1e3:.0f} "
                f"| {statistics.median(ratios) if ratios else float('nan'):.0f} ({len(ratios)}) |"
            )
    print(
        "\n| hosts | cutoff (Å) | n | same orbits | differ | MigrationGraph not done "
        f"in {options.seconds:g} s | ours, median (ms) | ours, max (ms) "
        "| median ratio, of hosts with hops |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(summary))


if __name__ == "__main__":
    main()
