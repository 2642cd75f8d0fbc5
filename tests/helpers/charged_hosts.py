"""Hosts of the catalogue with and without their ion."""

from workflows.sources.catalogue import catalogue_entries, entry_structure

ENTRIES = {entry["id"]: entry for entry in catalogue_entries()}
GROWN = 1.02


def full(name):
    return entry_structure(ENTRIES[name])


def charged(name):
    """The catalogue's host without its ion, in a larger cell of another origin."""
    ion = ENTRIES[name]["working_ion"]
    empty = full(name)
    empty.remove_species([ion])
    empty.scale_lattice(empty.volume * GROWN**3)
    empty.translate_sites(list(range(len(empty))), [0.13, 0.29, 0.41])
    return ion, empty
