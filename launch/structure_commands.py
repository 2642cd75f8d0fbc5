"""``hops`` and ``predict``: one structure, without a screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.output import Format, print_json, print_rich, quiet, say
from stores.errors import BadInput

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from workflows.bands import Mode
    from workflows.hops import HopSet

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="CIF, POSCAR, JSON, or what ASE reads.")
]
Ion = Annotated[str, typer.Option("--ion", help="Working ion, e.g. Li.", show_default=False)]
Dimension = Annotated[
    int, typer.Option(min=1, max=3, help="Take hops until they connect so many dimensions.")
]
Insert = Annotated[
    bool,
    typer.Option(
        "--insert",
        help="For a host without the ion: put it where its bond-valence sum is near its charge.",
    ),
]
MaxLength = Annotated[float, typer.Option(min=1.0, max=12.0, help="Longest hop, Å.")]
FormatOption = Annotated[Format, typer.Option("--format")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(hops)
    app.command()(predict)


def hops(
    file: FileArgument,
    ion: Ion,
    dimension: Dimension = 1,
    max_length: MaxLength = 6.5,
    insert: Insert = False,
    format_: FormatOption = Format.TABLE,
) -> None:
    """List the symmetrically distinct hops of a structure.

    Sites and translations refer to the primitive cell. Hops are taken by rising length until
    they connect the crystal in the wanted number of dimensions.

    ```
    hopscreen hops LiFePO4.cif --ion Li
    hopscreen hops LLZO.cif --ion Li --dimension 3 --format json
    hopscreen hops FePO4.cif --ion Li --insert
    ```
    """
    with quiet():
        host, found, mode = _enumerate(file, ion, dimension, max_length, insert)
        content = _content(file, host, found, ion, mode)
    _print(content, dimension, max_length, format_)


def predict(
    file: FileArgument,
    ion: Ion,
    model: Annotated[str, typer.Option(help="Band model: a name or a path.")] = "default",
    dimension: Dimension = 1,
    max_length: MaxLength = 6.5,
    insert: Insert = False,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Predict the migration barrier of each distinct hop of a structure.

    The band model answers in seconds, with a 90 % interval; nothing is kept.

    ```
    hopscreen predict LiFePO4.cif --ion Li
    ```
    """
    with quiet():
        host, found, mode = _enumerate(file, ion, dimension, max_length, insert)
        content = _content(file, host, found, ion, mode)
        content["hops"] = _predicted(host, found, content["hops"], model, mode)
    _print(content, dimension, max_length, format_)


def _enumerate(
    file: Path, ion: str, dimension: int, max_length: float, insert: bool
) -> tuple[Structure, HopSet, Mode]:
    from workflows.filters import Refused
    from workflows.hops import distinct_hops
    from workflows.hosts import Unfit, prepare_host, read_structure
    from workflows.insertion import fill_by_bond_valence, is_empty
    from workflows.spec import WORKING_IONS

    if ion not in WORKING_IONS:
        raise BadInput(f"--ion: '{ion}' is no known working ion; use {', '.join(WORKING_IONS)}")
    structure = read_structure(file)
    mode: Mode = "vacancy"
    try:
        if insert and is_empty(structure, ion):
            structure, mode = fill_by_bond_valence(structure, ion).structure, "dilute"
        host = prepare_host(structure, ion)
    except Refused as refused:
        raise BadInput(f"{file}: {refused.reason}") from None
    except Unfit as unfit:
        hint = "; give --ion an element that it has, or --insert"
        raise BadInput(
            f"{file}: {unfit}{hint if unfit.reason == 'no_working_ion' else ''}"
        ) from None
    found = distinct_hops(host, ion, dimension=dimension, max_length_ang=max_length)
    return host, found, mode


def _content(file: Path, host: Structure, found: HopSet, ion: str, mode: Mode) -> dict[str, Any]:
    """Return hops as programs get them."""
    from stores.hashing import file_sha256
    from workflows.hops import hop_id
    from workflows.hosts import structure_hash

    # As the source `files` names it: a screen of this file has the same hops.
    candidate_id = f"{file.stem}-{file_sha256(file)[:8]}:{ion}"
    host_hash = structure_hash(host)
    return {
        "formula": host.composition.reduced_formula,
        "working_ion": ion,
        "mode": mode,
        "cutoff_ang": found.cutoff_ang,
        "dimension": found.dimension,
        "hops": [
            {
                "hop_id": hop_id(candidate_id, host_hash, hop, mode),
                "length_ang": round(hop.length_ang, 6),
                "multiplicity": hop.multiplicity,
                "sites": list(hop.sites),
                "translation": list(hop.translation),
                "dimension": hop.dimension,
            }
            for hop in found.hops
        ],
    }


def _predicted(
    host: Structure, found: HopSet, rows: list[dict[str, Any]], model: str, mode: Mode
) -> list[dict[str, Any]]:
    """Add barriers to the rows; a hop that no supercell holds gets the reason instead."""
    from em_model.predictor import BandModel
    from workflows.bands import build_band
    from workflows.hosts import Unfit
    from workflows.progress import Progress

    bands, errors = [], {}
    with Progress("predict").track():
        for hop, row in zip(found.hops, rows, strict=True):
            try:
                bands.append(replace(build_band(host, hop, mode=mode), id=row["hop_id"]))
            except Unfit as error:
                errors[row["hop_id"]] = str(error)
        predictions = {one.id: one for one in BandModel.load(model).predict(bands)}

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        one = predictions.get(row["hop_id"])
        return {
            **row,
            "barrier_ev": one.barrier_ev if one else None,
            "interval_90_ev": list(one.interval_90_ev) if one and one.interval_90_ev else None,
            "in_domain": one.in_domain if one else None,
            "error": errors.get(row["hop_id"]),
        }

    return [answer(row) for row in rows]


def _print(content: dict[str, Any], dimension: int, max_length: float, format_: Format) -> None:
    if format_ is Format.JSON:
        print_json(content)
        return
    from launch.views import hop_table

    reached = f"they connect it in {content['dimension']} dimensions"
    if content["dimension"] < dimension:
        reached += f", not {dimension}: see --max-length"
    inserted = "; one ion in the empty framework" if content["mode"] == "dilute" else ""
    print_rich(
        f"{content['formula']}: {len(content['hops'])} distinct hops of {content['working_ion']} "
        f"up to {content['cutoff_ang']:.2f} Å; {reached}{inserted}"
    )
    if content["hops"]:
        print_rich(hop_table(content["hops"]))
    else:
        say(f"no hop is shorter than {max_length:g} Å; see --max-length")
