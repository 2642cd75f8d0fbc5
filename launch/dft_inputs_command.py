"""``dft-inputs``: the input files of a hop's DFT-NEB, to be run elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from launch.output import print_text, quiet, say
from launch.places import StoreOption


class Start(StrEnum):
    """Where the path comes from."""

    MLIP = "mlip"
    IDPP = "idpp"
    LINEAR = "linear"


class InputEngine(StrEnum):
    """Codes that inputs can be written for."""

    VASP = "vasp"


class Flavour(StrEnum):
    """What VASP was built with."""

    VTST = "vtst"
    STOCK = "stock"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("dft-inputs")(dft_inputs)


def dft_inputs(
    hop: Annotated[str, typer.Argument(metavar="HOP", help="Hop id, as 'show' gives it.")],
    store: StoreOption,
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.", show_default=False)],
    engine: Annotated[InputEngine, typer.Option(help="Code.")] = InputEngine.VASP,
    preset: Annotated[str, typer.Option(help="mp, pbe, r2scan or demo.")] = "mp",
    flavour: Annotated[
        Flavour, typer.Option(help="vtst: climbing image, needs the patch; stock: without.")
    ] = Flavour.VTST,
    images: Annotated[int, typer.Option(min=1, max=25, help="Movable images.")] = 5,
    start: Annotated[
        Start, typer.Option(help="Path; mlip falls back on idpp where there is none, and says so.")
    ] = Start.MLIP,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="No charge, even for a vacancy.")
    ] = False,
    ranks: Annotated[
        int | None, typer.Option(help="MPI ranks of the job, to be checked against the images.")
    ] = None,
) -> None:
    """Write the DFT-NEB inputs of a hop: both ends and the band.

    No licence is needed: potentials are named in POTCAR.spec. A vacancy carries the charge of
    the missing ion, written as NELECT.

    ```
    hopscreen dft-inputs 3f2a… --store screen_li.store --out neb_inputs
    ```
    """
    with quiet():
        from stores.screen_store import open_store
        from workflows.dft import vacancy_charge_e
        from workflows.dft_inputs import hop_path
        from workflows.engines.vasp import write_neb_inputs

        with open_store(store, create=False) as opened:
            path = hop_path(opened, hop, images=images, start=start.value)
        charge = 0 if neutral else vacancy_charge_e(path.hop.working_ion, path.hop.mode)
        files = write_neb_inputs(
            path.images,
            out,
            preset=preset,
            flavour=flavour.value,
            charge_e=charge,
            ranks=ranks,
        )
    say(
        f"path from {path.start}, charge {charge:+d} e, {len(path.images[0])} atoms, {engine.value}"
    )
    print_text("\n".join(str(file) for file in files))
