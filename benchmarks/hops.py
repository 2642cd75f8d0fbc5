"""Time and hop sets beside pymatgen-analysis-diffusion's MigrationGraph.

    python benchmarks/hops.py --cutoffs 4.5 6 9 --limit 60 --seconds 60
    python benchmarks/hops.py --keep hops.jsonl        # stop it and start it again as you like

Hosts are the bundled catalogue and, where the data folder is there (``HOPSCREEN_SHARED`` or
``../shared``), the hosts of the literature bands. Both programs get the same primitive cell and
symprec; times are CPU seconds of one thread. MigrationGraph is stopped after ``--seconds`` of CPU
time; such a host counts with that time, so that its ratio is a lower bound.

Every host's hop set is held against the orbits that spglib's operations make of the edges, found
the long way round. Our orbits and MigrationGraph's agree where they part the same edges into the
same orbits. Where they do not, each difference is settled by a proof:

* *distinct*: the distances from five points along the path to the atoms around differ by more
  than 0.05 Å, in either direction: no symmetry turns one hop into the other;
* *same*: an operation of the space group, verified to map the crystal onto itself, turns one
  hop into the other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Run as a script, this folder must not stand in the way of packages of its files' names.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

from em_model.data import read_bands  # noqa: E402
from workflows.hops import hops_within  # noqa: E402
from workflows.hosts import SYMPREC_ANG, Unfit, prepare_host, structure_hash  # noqa: E402
from workflows.sources.catalogue import catalogue_entries, entry_structure  # noqa: E402

Edge = tuple[int, int, int, int, int]
Orbits = set[frozenset[Edge]]

MARGIN_ANG = 0.1
"""Edges so much longer than the cutoff are looked at too, so that no orbit is cut in two."""

DISTINCT_ANG = 0.05
"""Distances that differ by more than this are different, whatever symprec admits."""


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


def canonical(i: int, j: int, a: int, b: int, c: int) -> Edge:
    """One description of an undirected edge."""
    if i != j:
        return min((i, j, a, b, c), (j, i, -a, -b, -c))
    return max((i, i, a, b, c), (i, i, -a, -b, -c))


def spglib_orbits(host: Structure, ion: str, cutoff: float) -> Orbits:
    """Part the edges by moving both ends of each with each of spglib's operations.

    The long way round: positions in space, looked up by nearest site, and connected components
    of the graph of edges that are images of each other.
    """
    ions = [k for k, site in enumerate(host) if site.specie.symbol == ion]
    first, second, shifts, lengths = host.get_neighbor_list(
        cutoff + MARGIN_ANG, sites=[host[k] for k in ions]
    )
    first = np.array(ions)[first]
    both = np.isin(second, ions)
    rows = np.column_stack([first, second, np.round(shifts)]).astype(int)[both]
    number: dict[Edge, int] = {}
    length_of: list[float] = []
    for row, length in zip(rows.tolist(), lengths[both].tolist(), strict=True):
        edge = canonical(*row)
        if edge not in number:
            number[edge] = len(number)
            length_of.append(length)
    if not number:
        return set()
    edges = np.array(list(number))
    starts = host.frac_coords[edges[:, 0]]
    ends_ = host.frac_coords[edges[:, 1]] + edges[:, 2:]
    own, image = [], []
    for operation in SpacegroupAnalyzer(host, symprec=SYMPREC_ANG).get_symmetry_operations():
        i, at_i = site_at(host, ions, operation.operate_multi(starts))
        j, at_j = site_at(host, ions, operation.operate_multi(ends_))
        moved = np.column_stack([i, j, at_j - at_i]).tolist()
        for k, row in enumerate(moved):
            other = number.get(canonical(*row))
            if other is not None:
                own.append(k)
                image.append(other)
    graph = coo_array((np.ones(len(own)), (own, image)), shape=(len(edges), len(edges)))
    _, label = connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for k, one in enumerate(label.tolist()):
        members[one].append(k)
    names = list(number)
    return {
        frozenset(names[k] for k in orbit)
        for orbit in members.values()
        if np.mean([length_of[k] for k in orbit]) <= cutoff + 1e-8
    }


def site_at(host: Structure, ions: list[int], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ion's site at each point, and the cell that it lies in."""
    away = points[:, None] - host.frac_coords[ions][None]
    cells = np.round(away)
    distances = np.linalg.norm((away - cells) @ host.lattice.matrix, axis=-1)
    nearest = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < DISTINCT_ANG, "an operation moves an ion off its sites"
    return np.array(ions)[nearest], cells[np.arange(len(points)), nearest].astype(int)


def ends(host: Structure, edge: Edge) -> np.ndarray:
    """Both ends of an edge, fractional, shape (2, 3)."""
    i, j, *step = edge
    return np.array([host.frac_coords[i], host.frac_coords[j] + step])


def fingerprint(host: Structure, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Surroundings of a path in numbers that no rotation or reflection changes.

    Distances to the nearest 24 atoms of each element from five points along it, and sums of the
    distances from neighbouring points: each point of two paths may have like surroundings, and yet
    be turned otherwise against the next.
    """
    path = host.lattice.get_cartesian_coords(start + np.linspace(0, 1, 5)[:, None] * (end - start))
    near = host.get_sites_in_sphere(path[2], 9.0 + np.linalg.norm(path[4] - path[0]) / 2)
    rows = []
    for element in sorted({site.specie.symbol for site in host}):
        atoms = np.array([n.coords for n in near if n.specie.symbol == element])
        single = np.linalg.norm(path[:, None] - atoms[None], axis=-1)
        both = np.vstack([single, single[:-1] + single[1:]])
        rows.append(np.sort(np.pad(both, ((0, 0), (0, 24)), constant_values=99.0))[:, :24])
    # Beyond 9 Å of a point not all atoms are known.
    reach = 9.0 * np.array([1] * 5 + [2] * 4)[:, None]
    return np.minimum(rows, reach).ravel()


def proven_distinct(host: Structure, one: Edge, other: Edge) -> bool:
    """Say whether the surroundings differ in either direction: no symmetry can change them."""
    mine = fingerprint(host, *ends(host, one))
    start, end = ends(host, other)
    theirs = (fingerprint(host, start, end), fingerprint(host, end, start))
    return bool(min(np.abs(mine - their).max() for their in theirs) > DISTINCT_ANG)


def proven_same(host: Structure, one: Edge, other: Edge) -> bool:
    """Say whether an operation, verified on all atoms, turns one edge into the other."""
    target = ends(host, other)
    for operation in SpacegroupAnalyzer(host, symprec=SYMPREC_ANG).get_symmetry_operations():
        image = operation.operate_multi(ends(host, one))
        for pair in (image, image[::-1]):
            away = pair - target
            shift = np.round(away[0])
            if np.abs((away - shift) @ host.lattice.matrix).max() < DISTINCT_ANG:
                return maps_onto_itself(host, operation)
    return False


def maps_onto_itself(host: Structure, operation: Any) -> bool:
    """Say whether an operation takes every atom to one of its kind."""
    moved = Structure(host.lattice, host.species, operation.operate_multi(host.frac_coords))
    distances = host.lattice.get_all_distances(moved.frac_coords, host.frac_coords)
    nearest = distances.argmin(axis=1)
    same = [host[int(k)].specie == moved[n].specie for n, k in enumerate(nearest)]
    return bool(distances.min(axis=1).max() < DISTINCT_ANG and all(same))


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


def compare(name: str, ion: str, host: Structure, cutoff: float, seconds: float) -> dict[str, Any]:
    """Compare the programs on one host."""
    mine, own = ours(host, ion, cutoff)
    other, taken = theirs(host, ion, cutoff, seconds)
    if other is None:
        outcome, said = "late", f"MigrationGraph not done after {taken:.0f} s"
    elif mine == other:
        outcome, said = "same", "same orbits"
    else:
        outcome, said = "differ", verdict(host, mine, other)
    proven = mine == spglib_orbits(host, ion, cutoff)
    return {
        "host": name,
        "cutoff_ang": cutoff,
        "atoms": len(host),
        "hops": len(mine),
        "ours_s": own,
        "theirs_s": taken,
        "outcome": outcome,
        "said": said + ("" if proven else "; NOT the orbits of spglib's operations"),
        "proven": proven,
    }


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['cutoff_ang']:4.1f} Å {row['host']:28.28s} {row['atoms']:4d} atoms "
        f"{row['hops']:4d} hops {row['ours_s'] * 1e3:8.1f} ms {row['theirs_s'] * 1e3:10.1f} ms  "
        f"{row['said']}"
    )


def table(rows: list[dict[str, Any]], seconds: float) -> str:
    """Sum up in Markdown, a line for each set and cutoff."""
    lines = [
        "| hosts | cutoff (Å) | n | same as spglib's orbits | same as MigrationGraph's | differ "
        f"| MigrationGraph not done in {seconds:g} s | ours, median (ms) | ours, max (ms) "
        "| MigrationGraph, median (ms) | median ratio, of hosts with hops |",
        "|" + "---|" * 11,
    ]
    groups: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["set"], row["cutoff_ang"]].append(row)
    for (name, cutoff), members in sorted(groups.items()):
        count = {k: sum(r["outcome"] == k for r in members) for k in ("same", "differ", "late")}
        times = [r["ours_s"] for r in members]
        # Without a hop there is nothing to tell apart, and no time to compare.
        ratios = [r["theirs_s"] / r["ours_s"] for r in members if r["hops"]] or [float("nan")]
        lines.append(
            f"| {name} | {cutoff:g} | {len(members)} | {sum(r['proven'] for r in members)} "
            f"| {count['same']} | {count['differ']} | {count['late']} "
            f"| {statistics.median(times) * 1e3:.1f} | {max(times) * 1e3:.0f} "
            f"| {statistics.median(r['theirs_s'] for r in members) * 1e3:.0f} "
            f"| {statistics.median(ratios):.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[4.5, 6.0, 9.0], help="in Å")
    parser.add_argument("--hosts", choices=["catalogue", "training", "both"], default="both")
    parser.add_argument("--limit", type=int, help="hosts of each set, drawn with a fixed seed")
    parser.add_argument("--only", default="", help="hosts with this in their name")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="CPU time given to MigrationGraph for a host"
    )
    parser.add_argument("--keep", type=Path, help="JSONL file of what is measured; goes on with it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    if options.keep and options.keep.exists():
        rows = [json.loads(text) for text in options.keep.read_text("utf-8").splitlines()]
    done = {(row["set"], row["host"], row["cutoff_ang"]) for row in rows}
    sets = {"catalogue": catalogue_hosts, "training": training_hosts}
    for name, hosts_of in sets.items():
        if options.hosts not in (name, "both"):
            continue
        hosts = list(prepared(host for host in hosts_of() if options.only in host[0]))
        # Stopped early, what is measured is still a fair sample.
        random.Random(0).shuffle(hosts)
        for cutoff in options.cutoffs:
            for host_name, ion, host in hosts[: options.limit]:
                if (name, host_name, cutoff) in done:
                    continue
                row = {"set": name, **compare(host_name, ion, host, cutoff, options.seconds)}
                rows.append(row)
                print(line(row), flush=True)
                if options.keep:
                    with options.keep.open("a", encoding="utf-8") as kept:
                        kept.write(json.dumps(row) + "\n")
    print("\n" + table(rows, options.seconds))


if __name__ == "__main__":
    main()
