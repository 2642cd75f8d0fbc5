"""Sites by bond valence, on hosts whose sites are known.

    python benchmarks/insertion.py

The ions of each host of the bundled catalogue are taken out and sought again, in the host as it
is and in one of 3 % larger lattice vectors, as a charged electrode may be. A site is found where
one lies within 0.6 Å of it. Hosts of two elements, of which nothing but the anions stays, are
counted apart: no charged electrode is like that.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from workflows.bond_valence import valence_sites
from workflows.hosts import prepare_host
from workflows.sources.catalogue import catalogue_entries, entry_structure

FOUND_ANG = 0.6


def compare(entry: dict, growth: float) -> tuple[int, int, float, int]:
    """Number of known sites, of those found, their mean error in Å, and of further sites."""
    ion = entry["working_ion"]
    host = prepare_host(entry_structure(entry), ion)
    host.scale_lattice(host.volume * growth**3)
    known = np.array([site.frac_coords for site in host if site.specie.symbol == ion])
    host.remove_species([ion])
    places = np.array([site.frac_coords for site in valence_sites(host, ion)]).reshape(-1, 3)
    if not len(places):
        return len(known), 0, float("nan"), 0
    distances = host.lattice.get_all_distances(known, places)
    near = distances.min(axis=1)
    found = near < FOUND_ANG
    further = int((distances.min(axis=0) >= FOUND_ANG).sum())
    return len(known), int(found.sum()), float(near[found].mean()) if any(found) else 0.0, further


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="hosts with this in their name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    entries = [e for e in catalogue_entries() if options.only in e["id"]]
    print(
        "| framework | growth | hosts | all sites found | known sites | found | mean error (Å) "
        "| further sites | CPU per host (s) |\n" + "|---" * 9 + "|"
    )
    missed = []
    for growth in (1.0, 1.03):
        for name, binary in (("of two elements or more", False), ("of one element", True)):
            rows = []
            start = time.process_time()
            for entry in entries:
                if (len({s["element"] for s in entry["sites"]}) == 2) is binary:
                    rows.append(compare(entry, growth))
                    if rows[-1][1] < rows[-1][0]:
                        missed.append(f"{entry['id']} ({rows[-1][1]} of {rows[-1][0]}, {growth:g})")
            if rows:
                known, found, errors, further = (
                    np.array(column) for column in zip(*rows, strict=True)
                )
                error = np.nansum(errors * found) / max(found.sum(), 1)
                print(
                    f"| {name} | {growth:g} | {len(rows)} | {(found == known).sum()} "
                    f"| {known.sum()} | {found.sum()} | {error:.2f} | {further.sum()} "
                    f"| {(time.process_time() - start) / len(rows):.2f} |",
                    flush=True,
                )
    print("\nnot all found: " + ", ".join(missed))


if __name__ == "__main__":
    main()
