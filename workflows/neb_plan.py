"""What a NEB stage does to a hop: engine, band settings, supercell, and how far it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ase import Atoms
from pymatgen.core import Structure

from stores.documents import Interval, Level
from stores.hashing import content_hash
from workflows.bands import Mode, SupercellRecipe, supercell_size
from workflows.dft import dft_preset
from workflows.engines import Engine, RelaxesBands, get_potential, knows
from workflows.hops import Hop
from workflows.levels import interval_90
from workflows.neb import NebSettings
from workflows.neb_types import Start
from workflows.spec import NEB_STAGES, HopOptions, ScreenSpec


@dataclass(frozen=True)
class NebPlan:
    """A NEB stage of one screen.

    Attributes
    ----------
    level
        Level of its estimates.
    title
        For people, e.g. ``MACE-NEB``.
    top
        Budget in hops.
    engine
        Gives energies and forces.
    neb
        How the band is relaxed.
    recipe
        How the supercell is made.
    label
        Warning shown beside each number, e.g. ``demo``.
    halfwidth_ev
        Half of the 90 % interval where the preset says it; None leaves it to the engine's model.
    start
        Initial path: ``mlip`` takes a potential's converged one where there is one.
    guide
        Potential that goes ahead of a dear engine; see :mod:`workflows.neb_guided`.
    """

    level: Level
    title: str
    top: int
    engine: Engine
    neb: NebSettings
    recipe: SupercellRecipe
    label: str | None = None
    halfwidth_ev: float | None = None
    start: Start = "idpp"
    guide: Engine | None = None

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return NEB_STAGES[self.level]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides an estimate, besides the hop."""
        identity = self.engine.identity()
        return {
            "engine": self.engine.name,
            "model_sha256": identity.sha256,
            "engine_detail": identity.detail,
            "neb": self.neb.as_dict(),
            "supercell": self.recipe.as_dict(),
            "start": self.start,
        }

    def barrier_id(self, hop_id: str) -> str:
        """Return the id of a hop's estimate by this plan."""
        return content_hash([hop_id, self.level, self.settings])

    def fits(self, host: Structure, hop: Hop, mode: Mode) -> bool:
        """Say whether the engine knows the elements and can afford the hop's supercell."""
        if not knows(self.engine, host.chemical_system_set):
            return False
        size = supercell_size(host, hop, self.recipe, mode)
        return size is not None and size <= self.recipe.max_atoms

    def guide_for(self, atoms: Atoms) -> Engine | None:
        """Return the guide, if there is one that knows these elements."""
        return self.guide if self.guide and knows(self.guide, atoms.symbols) else None

    def interval_90_ev(self, barrier_ev: float) -> Interval:
        """Return the 90 % interval of an estimate."""
        if self.halfwidth_ev is not None:
            return max(0.0, barrier_ev - self.halfwidth_ev), barrier_ev + self.halfwidth_ev
        return interval_90(self.level, self.engine.identity(), barrier_ev)


def neb_plan(screen: ScreenSpec, level: Level, mode: Mode | None = None) -> NebPlan:
    """Return the plan of a screen's ``mlip`` or ``dft`` stage.

    ``mode`` is that of the hop, where it may differ from the screen's.

    Raises
    ------
    BadInput
        The engine is not installed, or its model is not there.
    ValueError
        The screen has no such stage.
    """
    if level == "mlip" and screen.mace_neb is not None:
        options = screen.mace_neb
        return NebPlan(
            level="mlip",
            title="MACE-NEB",
            top=options.top,
            engine=get_potential(options.model),
            neb=NebSettings(
                fmax_ev_ang=options.fmax,
                images=None if options.images == "auto" else options.images,
                max_force_calls=options.max_force_calls,
                give_up_above_ev=options.give_up_above,
            ),
            recipe=hop_recipe(screen.hops),
        )
    if level == "dft" and screen.dft_neb is not None:
        preset = dft_preset(screen.dft_neb.engine, screen.dft_neb.preset)
        engine = preset.make_engine(screen.working_ion, mode or screen.hops.mode)
        # VASP relaxes bands by itself; nothing can go ahead of it
        guided = screen.dft_neb.start == "mlip" and not isinstance(engine, RelaxesBands)
        return NebPlan(
            level="dft",
            title="DFT-NEB",
            top=screen.dft_neb.top,
            engine=engine,
            neb=preset.neb,
            recipe=preset.recipe or hop_recipe(screen.hops),
            start=screen.dft_neb.start,
            guide=get_potential(screen.mace_neb.model) if guided and screen.mace_neb else None,
            label=preset.label,
            halfwidth_ev=preset.interval_halfwidth_ev,
        )
    raise ValueError(f"the screen has no {level} stage")


def hop_recipe(options: HopOptions) -> SupercellRecipe:
    """Return the supercell recipe that the screening file asks for."""
    return SupercellRecipe(min_length_ang=options.min_supercell, max_atoms=options.max_atoms)
