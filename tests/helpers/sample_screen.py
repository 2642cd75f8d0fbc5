"""A small finished screen: ranked materials at three levels, a failure, a refusal, hostile text."""

from __future__ import annotations

from typing import Any

from pymatgen.core import Lattice, Structure

from stores.documents import (
    BarrierDoc,
    CandidateDoc,
    EnergyProfile,
    Failure,
    HopDoc,
    ModelRef,
    Provenance,
)
from stores.ranking import rank_materials
from stores.screen_store import ScreenStore

ORIGIN = Provenance(versions={"hopscreen": "0.1.0", "pymatgen": "2026.10"}, folder="/calc/jobs/1")

SCRIPT = "</script><script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror="window.hacked=1">'
LINK = '<a href="javascript:window.hacked=1">{{ 7 * 7 }}</a>'
HOSTILE_ID = f"{IMAGE}/../{LINK}"

CUBIC = [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)]
"""The three equivalents of the hop along an edge of a cubic cell."""

IMAGES = [
    {
        "species": ["Li", "O"],
        "cell_ang": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]],
        "positions_ang": [[0.25 * n, 0, 0], [2.0, 2.0, 2.0]],
        "energy_ev": -5.0 + 0.1 * n,
    }
    for n in range(3)
]


def cubic(host: str = "O", side_ang: float = 4.0) -> Structure:
    """One lithium at the corner and one host atom at the centre."""
    corners = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure(Lattice.cubic(side_ang), ["Li", host], corners)


def candidate(name: str, **more: Any) -> CandidateDoc:
    fields: dict[str, Any] = {
        "formula": f"Li{name}",
        "source": "test",
        "screens": ["s-1"],
        "structure": cubic().as_dict(),
        "num_sites": 2,
        "hops_status": "done",
    }
    return CandidateDoc(
        candidate_id=f"{name}:Li",
        material_id=name,
        working_ion="Li",
        provenance=ORIGIN,
        **(fields | more),
    )


def hop(name: str, number: int = 0, **more: Any) -> HopDoc:
    fields: dict[str, Any] = {
        "sites": (0, 0),
        "translation": (1, 0, 0),
        "length_ang": 4.0,
        "edges": CUBIC,
        "dimension": 3,
    }
    fields |= more
    return HopDoc(
        hop_id=f"hop{number}{name}",
        candidate_id=f"{name}:Li",
        material_id=name,
        working_ion="Li",
        multiplicity=len(fields["edges"]),
        recipe_version=1,
        provenance=ORIGIN,
        **fields,
    )


def barrier(of: HopDoc, level: str, value: float | None, **more: Any) -> BarrierDoc:
    fields: dict[str, Any] = {"status": "done", "provenance": ORIGIN}
    if value is None:
        fields |= {"status": "failed", "error": Failure(kind="NotConverged", message="300 steps")}
    else:
        fields |= {"barrier_ev": value, "interval_90_ev": (max(0.0, value - 0.1), value + 0.15)}
    return BarrierDoc(
        barrier_id=f"{level}{of.hop_id}",
        hop_id=of.hop_id,
        candidate_id=of.candidate_id,
        material_id=of.material_id,
        working_ion="Li",
        level=level,
        **(fields | more),
    )


def profile(top: float) -> EnergyProfile:
    return EnergyProfile(coordinate_ang=[0, 1, 2, 3, 4], energy_ev=[0, top / 2, top, top / 2, 0.02])


def write(store: ScreenStore) -> None:
    """Write the screen: A (three levels), B (band model alone), C (failed NEB), the hostile H;
    D refused, E without hops, F that could not be read.
    """
    names = {"A": 0.25, "B": 0.45, "C": 0.65}
    gaps = {"A": 3.0, "B": 1.0}
    hops = {name: hop(name) for name in names}
    store.put(
        candidate(
            name, formula=f"Li2{element}", band_gap_ev=gaps.get(name), energy_above_hull_ev=0.01
        )
        for name, element in (("A", "O"), ("B", "S"), ("C", "Se"))
    )
    store.put(hops.values())
    store.put(barrier(hops[name], "band", value) for name, value in names.items())
    mace = Provenance(
        versions={"hopscreen": "0.1.0", "mace-torch": "0.3"},
        model=ModelRef(name="mini", sha256="ab" * 32),
        folder="/calc/jobs/2",
        wall_s=75.0,
    )
    settings = {"engine": "mini", "neb": {"fmax_ev_ang": 0.05}}
    store.put(
        [
            barrier(
                hops["A"], "mlip", 0.30, profile=profile(0.30), blob_id="bandA", converged=True,
                forward_ev=0.30, backward_ev=0.28, span_ev=0.30, num_atoms=64, force_calls=80,
                provenance=mace, settings=settings, warnings=["image 2 is a minimum"],
            ),
            barrier(hops["A"], "dft", 0.28, profile=profile(0.28), label="demo", provenance=mace),
            barrier(hops["C"], "mlip", None, provenance=mace, settings=settings),
        ]
    )  # fmt: skip
    store.save_blob("bandA", {"images": IMAGES})
    store.put(
        [
            candidate("D", status="rejected", rejected_by="toxic", structure=None,
                      error=Failure(kind="toxic", message="holds Hg")),
            candidate("E"),
            candidate("F", status="failed", structure=None, num_sites=None,
                      error=Failure(kind="Unreadable", message="F.cif: no atoms")),
        ]
    )  # fmt: skip
    evil = hop(HOSTILE_ID)
    store.put(
        [
            candidate(HOSTILE_ID, formula=SCRIPT, reference=LINK, source=IMAGE,
                      metadata={"note": SCRIPT}),
        ]
    )  # fmt: skip
    store.put([evil])
    failure = Failure(kind=IMAGE, message=f"{SCRIPT} {LINK} $\\frac{{1$", folder=SCRIPT)
    store.put(
        [
            barrier(evil, "band", 0.9, label=LINK, warnings=[SCRIPT]),
            barrier(evil, "mlip", 0.95, profile=profile(0.95), label=IMAGE),
            barrier(evil, "dft", None, error=failure),
        ]
    )
    rank_materials(store)


def write_large_host(store: ScreenStore, side: int = 11) -> None:
    """Write one host of 2 × side³ atoms with as many hops as sites, as hops go in a glass."""
    structure = cubic() * (side, side, side)
    lithium = [n for n, site in enumerate(structure) if site.specie.symbol == "Li"]
    name = "large"
    hops = [
        hop(
            name,
            number,
            sites=(at, at),
            edges=[(at, at, 1, 0, 0)],
            length_ang=4.0 * side,
            dimension=1,
        )
        for number, at in enumerate(lithium)
    ]
    store.put([candidate(name, structure=structure.as_dict(), num_sites=len(structure))])
    store.put(hops)
    store.put(barrier(one, "band", 0.3 + 0.001 * n) for n, one in enumerate(hops))
    rank_materials(store)
