"""Engines: what gives energies and forces to a nudged elastic band.

An engine is a short adapter to an ASE calculator. Third parties add one through the entry-point
group ``hopscreen.engines``: the entry's object is called with the options and returns an
:class:`Engine`, for most calculators an :class:`AseEngine`::

    # in their pyproject.toml
    [project.entry-points."hopscreen.engines"]
    sevennet = "our_package:sevennet"

    # in our_package.py
    def sevennet(model="7net-0"):
        make = lambda folder: SevenNetCalculator(model)
        return AseEngine("sevennet", make, detail={"model": model})
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from ase.calculators.calculator import Calculator

from stores.documents import ModelRef
from stores.errors import BadInput

if TYPE_CHECKING:
    from workflows.neb_types import NebSettings, Progress

GROUP = "hopscreen.engines"

BUILT_IN = {
    "mace": "workflows.engines.mace:MaceEngine",
    "chgnet": "workflows.engines.chgnet:ChgnetEngine",
    "gpaw": "workflows.engines.gpaw:GpawEngine",
    "cp2k": "workflows.engines.cp2k:Cp2kEngine",
    "vasp": "workflows.engines.vasp_run:VaspEngine",
}


@runtime_checkable
class Engine(Protocol):
    """What :func:`workflows.neb.run_neb` asks of an engine.

    Attributes
    ----------
    name
        Name for people: ``mini``, ``chgnet``, ``gpaw``.
    level
        Level of the estimates it makes.
    shared
        Whether one calculator serves all images of a band. An engine that keeps a state per
        geometry (a wave function) says no and gets a calculator, and a folder, for each image.
    """

    name: str
    level: Literal["mlip", "dft"]
    shared: bool

    def identity(self) -> ModelRef:
        """Name, sha256 of the weights, dtype and versions, for the document."""
        ...

    @property
    def elements(self) -> Collection[str] | None:
        """Symbols that the engine was made for; None for all."""
        ...

    def calculator(self, folder: Path | None = None) -> Calculator:
        """Build a calculator; ``folder`` takes its files, None for none."""
        ...


@dataclass(frozen=True)
class AseEngine:
    """Any ASE calculator as an engine.

    Parameters
    ----------
    name
        As in the screening file.
    factory
        Makes a calculator; is given a folder for its files, or None.
    detail
        What decides its numbers: model, settings, versions.
    sha256
        Of its weights file, if it has one.
    elements
        Symbols it was made for; None for all.
    level, shared
        See :class:`Engine`.
    """

    name: str
    factory: Callable[[Path | None], Calculator]
    detail: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    elements: Collection[str] | None = None
    level: Literal["mlip", "dft"] = "mlip"
    shared: bool = True

    def identity(self) -> ModelRef:
        """Return name, hash and detail."""
        return ModelRef(name=self.name, sha256=self.sha256, detail=dict(self.detail))

    def calculator(self, folder: Path | None = None) -> Calculator:
        """Make a calculator."""
        return self.factory(folder)


@runtime_checkable
class RelaxesBands(Protocol):
    """A program that relaxes ends and bands by itself, as VASP does."""

    def run(self, settings: NebSettings, folder: Path | None, progress: Progress | None) -> Any:
        """Start a :class:`workflows.neb_run.Run` that has ``relax_band(images)`` besides."""
        ...


def get_engine(name: str, **options: Any) -> Engine:
    """Build the engine ``name``.

    Parameters
    ----------
    name
        ``mace``, ``chgnet``, ``gpaw``, or the name of an entry point in ``hopscreen.engines``.
    **options
        Handed to the engine, e.g. ``model="mini"`` for ``mace``.

    Returns
    -------
    Engine
        Cheap to build: weights are read, and downloads made, by ``calculator()``.

    Raises
    ------
    BadInput
        No such engine, a package it needs is missing, or an option is wrong.
    """
    factory = _factory(name)
    try:
        return factory(**options)
    except TypeError as error:
        raise BadInput(f"engine '{name}': {error}") from error


def get_potential(model: str, **options: Any) -> Engine:
    """Build an interatomic potential by model: ``chgnet``, an entry point, or any MACE model.

    Raises
    ------
    BadInput
        Neither an engine's name, a MACE name, nor a path.
    """
    if model != "mace" and model in engine_names():
        return get_engine(model, **options)
    return get_engine("mace", model=model, **options)


def knows(engine: Engine, symbols: Iterable[str]) -> bool:
    """Say whether an engine was made for all of these elements."""
    return engine.elements is None or set(symbols) <= set(engine.elements)


def engine_names() -> list[str]:
    """Names that :func:`get_engine` knows, sorted."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


def _factory(name: str) -> Callable[..., Engine]:
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return entry.load()
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, engine_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(engine_names())}"
        raise BadInput(f"engine '{name}' is unknown; {hint}")
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(import_module(module), attribute)
