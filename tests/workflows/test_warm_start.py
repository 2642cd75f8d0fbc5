"""Where the band of a dear engine begins."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from copper import copper_vacancy
from emt_factory import emt

from workflows.engines import AseEngine
from workflows.neb import NebSettings
from workflows.neb_plan import neb_plan
from workflows.spec import ScreenSpec
from workflows.warm_start import own_path

EMT_ENGINE = AseEngine("emt", emt, shared=False, elements={"Cu"})


@pytest.mark.parametrize("images", [None, 2])
def test_own_path_is_relaxed_and_has_the_images_that_are_wanted(images):
    initial, final = copper_vacancy()
    path = own_path(EMT_ENGINE, initial, final, NebSettings(images=images))
    assert path is not None
    assert len(path) == 2 + (images or 3)
    middle = path[len(path) // 2]
    middle.calc = EMT()
    # the neighbours have made way, which a straight path does not know
    assert np.linalg.norm(middle.positions[1:] - initial.positions[1:], axis=1).max() > 0.03


def test_a_potential_without_a_path_gives_none():
    initial, final = copper_vacancy()
    final.positions[0] = initial.positions[0] + [0.6, 0, 0]  # no site: the ion falls back
    assert own_path(EMT_ENGINE, initial, final, NebSettings()) is None


def screen(start: str, engine: str = "gpaw", **stages: object) -> ScreenSpec:
    pytest.importorskip(engine if engine == "gpaw" else "atomate2")
    return ScreenSpec.model_validate(
        {
            "name": "s",
            "working_ion": "Li",
            "candidates": {"source": "catalogue", "ids": ["LiF"]},
            "dft_neb": {"engine": engine, "preset": "production", "start": start},
            **stages,
        }
    )


@pytest.mark.parametrize(
    ("start", "stages", "guided"),
    [("mlip", {"mace_neb": {"model": "mini"}}, True), ("mlip", {}, False),
     ("idpp", {"mace_neb": {"model": "mini"}}, False)],
)  # fmt: skip
def test_the_potential_of_the_stage_below_is_the_guide(start, stages, guided):
    plan = neb_plan(screen(start, **stages), "dft")
    assert (plan.guide is not None) == guided
    assert (plan.guide.identity().name if plan.guide else None) == ("mini" if guided else None)
    # it decides how fast, not what: the same hop keeps its id
    if start == "mlip":
        assert plan.barrier_id("h") == neb_plan(screen("mlip"), "dft").barrier_id("h")


def test_nothing_goes_ahead_of_a_code_that_relaxes_bands_itself():
    plan = neb_plan(screen("mlip", "vasp", mace_neb={"model": "mini"}), "dft")
    assert plan.guide is None
    assert plan.start == "mlip"


def test_a_guide_is_left_where_it_does_not_know_an_element():
    plan = neb_plan(screen("mlip", mace_neb={"model": "mini"}), "dft")
    assert plan.guide_for(bulk("LiF", "rocksalt", a=4.03)) is not None
    assert plan.guide_for(bulk("Pu", "fcc", a=4.6)) is None
