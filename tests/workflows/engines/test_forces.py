"""Hops side by side: the same numbers as one after the other, in fewer calls."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ase.build import bulk
from emt_factory import emt

from workflows.engines import AseEngine, get_potential
from workflows.engines.forces import InProcesses, OneByOne, forces_of, side_by_side
from workflows.neb import NebFailure, NebSettings, run_neb


def chloride_hops():
    """A lithium ion beside a vacancy in two cells of LiCl of different size."""
    hops = []
    for shape in ((1, 1, 1), (2, 1, 1)):
        crystal = bulk("LiCl", "rocksalt", a=5.13, cubic=True).repeat(shape)
        crystal = crystal[np.argsort(crystal.numbers, kind="stable")]
        step = crystal.get_distance(0, 1, mic=True, vector=True)
        del crystal[1]
        final = crystal.copy()
        final.positions[0] += step
        hops.append((crystal, final))
    return hops


@pytest.fixture(params=["mini", "chgnet"])
def batching(request):
    if request.param == "chgnet":
        pytest.importorskip("chgnet", reason="extra 'chgnet' is not installed")
        return get_potential("chgnet", device="cpu", batch=16)
    return get_potential("mini", device="cpu", batch_atoms=500)


def test_a_batch_equals_one_by_one(batching):
    images = []
    for crystal, _ in chloride_hops():
        for seed in (0, 1):
            image = crystal.copy()
            image.rattle(0.05, seed=seed)
            images.append(image)
    assert batching.in_batches
    together = forces_of(batching).evaluate(images, [""] * 4)
    alone = OneByOne(batching, None).evaluate(images, [""] * 4)
    for one, other in zip(together, alone, strict=True):
        assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-4)
        assert one.forces_ev_ang == pytest.approx(other.forces_ev_ang, abs=1e-4)


def test_on_a_cpu_a_structure_at_a_time_is_the_default():
    assert not get_potential("mini", device="cpu").in_batches


class Counted:
    """Forces of an engine, with a count of the calls and images."""

    def __init__(self, engine):
        self.forces, self.sizes = forces_of(engine), []

    def evaluate(self, images, labels):
        self.sizes.append(len(images))
        return self.forces.evaluate(images, labels)


def test_hops_side_by_side_give_the_same_bands_in_fewer_calls():
    engine = get_potential("mini", device="cpu", dtype="float64", batch_atoms=500)
    settings = NebSettings(images=3, fmax_ev_ang=0.1)
    hops = chloride_hops()
    alone = [run_neb(*hop, engine, settings) for hop in hops]
    counted = Counted(engine)
    works = [lambda forces, hop=hop: run_neb(*hop, engine, settings, forces=forces) for hop in hops]
    together = side_by_side(works, counted)
    for one, other in zip(together, alone, strict=True):
        assert one.barrier_ev == pytest.approx(other.barrier_ev, abs=1e-4)
        assert one.force_calls == other.force_calls
    assert sum(counted.sizes) == sum(result.force_calls for result in alone)
    assert len(counted.sizes) < sum(result.force_calls for result in alone) / 2


def test_a_hop_that_fails_does_not_hold_up_the_others():
    engine = get_potential("mini", device="cpu", batch_atoms=500)
    hops = chloride_hops()
    few = NebSettings(images=3, max_force_calls=2)

    def fails(forces):
        with pytest.raises(NebFailure):
            run_neb(*hops[0], engine, few, forces=forces)
        return "failed"

    settings = NebSettings(images=3, fmax_ev_ang=0.3)
    found = side_by_side([fails, partial(_run, hops[1], engine, settings)], forces_of(engine))
    assert found[0] == "failed"
    assert found[1].converged


def _run(hop, engine, settings, forces):
    return run_neb(*hop, engine, settings, forces=forces)


def test_images_in_processes_give_the_same_and_keep_their_calculators():
    engine = AseEngine("emt", emt, shared=False)
    forces = InProcesses(engine, None, processes=2)
    images = []
    for seed in (0, 1):
        image = bulk("Cu", cubic=True).repeat(2)
        image.rattle(0.05, seed=seed)
        images.append(image)
    for _ in range(2):
        here = OneByOne(engine, None).evaluate(images, ["a", "b"])
        there = forces.evaluate(images, ["a", "b"])
        for one, other in zip(here, there, strict=True):
            assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-10)
            assert one.forces_ev_ang == pytest.approx(other.forces_ev_ang, abs=1e-10)
        images[0].positions[0, 0] += 0.1
    assert sorted(forces._workers) == ["a", "b"]


def test_an_error_of_the_engine_reaches_every_hop():
    class Broken:
        def evaluate(self, images, labels):
            raise RuntimeError("out of memory")

    crystal = bulk("LiCl", "rocksalt", a=5.13)
    told = []

    def work(forces):
        with pytest.raises(RuntimeError, match="out of memory"):
            forces.evaluate([crystal], [""])
        told.append(1)

    side_by_side([work, work], Broken())
    assert len(told) == 2
