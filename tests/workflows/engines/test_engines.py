"""One consistency test for every engine that can run here, and what a model name may be."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from stores.errors import BadInput
from workflows.engines import Engine, engine_names, get_engine, get_potential
from workflows.engines.mace import SHIPPED, MaceEngine, load_shipped
from workflows.levels import PUBLISHED_HALF_WIDTH_90_EV, interval_90, model_card
from workflows.neb import run_neb


def rattled_lif() -> Atoms:
    atoms = bulk("LiF", "rocksalt", a=4.03, cubic=True)
    atoms.rattle(0.08, seed=3)
    return atoms


@pytest.fixture(params=["mini", "chgnet"], scope="module")
def engine(request) -> Engine:
    if request.param == "chgnet":
        pytest.importorskip("chgnet", reason="extra 'chgnet' is not installed")
    options = {"dtype": "float64"} if request.param == "mini" else {}
    return get_potential(request.param, device="cpu", **options)


class TestConsistency:
    def test_is_an_engine(self, engine):
        assert isinstance(engine, Engine)
        assert {"Li", "F"} <= set(engine.elements)

    def test_forces_match_finite_differences(self, engine):
        atoms = rattled_lif()
        atoms.calc = engine.calculator()
        forces = atoms.get_forces()
        step = 1e-3 if engine.name == "mini" else 1e-2  # chgnet computes in float32
        for index, axis in ((0, 0), (3, 2)):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[index, axis] += sign * step
                moved.calc = engine.calculator()
                energies.append(moved.get_potential_energy())
            numerical = -(energies[0] - energies[1]) / (2 * step)
            assert forces[index, axis] == pytest.approx(numerical, abs=0.01, rel=0.02)

    def test_energy_knows_no_order_place_or_orientation(self, engine):
        atoms = rattled_lif()
        atoms.calc = engine.calculator()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        other = atoms[::-1]
        other.positions += [0.3, 0.7, 1.1]
        other.rotate(30, (1, 2, 3), rotate_cell=True)
        other.wrap()
        other.calc = engine.calculator()
        assert other.get_potential_energy() == pytest.approx(energy, abs=2e-4)
        lengths = np.linalg.norm(forces, axis=1)
        assert np.linalg.norm(other.get_forces(), axis=1)[::-1] == pytest.approx(lengths, abs=2e-3)

    def test_one_calculator_serves_many_geometries(self, engine):
        assert engine.shared
        shared = engine.calculator()
        for scale in (0.98, 1.0, 1.03):
            atoms = rattled_lif()
            atoms.set_cell(atoms.cell * scale, scale_atoms=True)
            alone = atoms.copy()
            atoms.calc, alone.calc = shared, engine.calculator()
            assert atoms.get_potential_energy() == pytest.approx(
                alone.get_potential_energy(), abs=1e-5
            )

    def test_identity_names_the_weights(self, engine):
        identity = engine.identity()
        assert len(identity.sha256) == 64
        assert identity.detail["torch"]
        assert identity == engine.identity()


def test_built_in_names_are_listed():
    assert {"mace", "chgnet", "gpaw", "vasp", "cp2k"} <= set(engine_names())


def test_entry_point_makes_any_ase_calculator_an_engine(tmp_path, monkeypatch):
    """An installed package of a third party, with a few lines in it."""
    (tmp_path / "our_potential.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "from workflows.engines import AseEngine\n"
        "def make(asap=False):\n"
        "    detail = {'asap': asap}\n"
        "    return AseEngine('emt', lambda folder: EMT(), detail=detail, elements=['Cu'])\n"
    )
    metadata = tmp_path / "our_potential-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: our-potential\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[hopscreen.engines]\nemt = our_potential:make\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "emt" in engine_names()
    engine = get_potential("emt", asap=True)
    assert isinstance(engine, Engine)
    assert engine.identity().detail == {"asap": True}
    crystal = bulk("Cu", cubic=True, a=3.6).repeat(2)
    final = crystal.copy()
    final.positions[0] += crystal.get_distance(0, 1, mic=True, vector=True)
    del crystal[1], final[1]
    assert 0.6 < run_neb(crystal, final, engine).barrier_ev < 0.9
    with pytest.raises(BadInput, match="engine 'emt'"):
        get_potential("emt", nonsense=1)


def test_near_engine_name_is_suggested():
    with pytest.raises(BadInput, match="did you mean 'chgnet'"):
        get_engine("chgnt")


def test_unknown_option_is_bad_input():
    with pytest.raises(BadInput, match="modle"):
        get_engine("mace", modle="mini")


class TestMaceNames:
    @pytest.mark.parametrize(
        "name", ["weights/mine.model", "./mini", "absent.model", "/nowhere/at/all"]
    )
    def test_absent_path_never_becomes_a_download(self, name, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("tried to download")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        with pytest.raises(BadInput, match="no such file"):
            MaceEngine(name)

    def test_near_foundation_name_is_suggested(self):
        with pytest.raises(BadInput, match="did you mean 'medium-mpa-0'"):
            MaceEngine("medium-mpa0")

    def test_offline_foundation_model_says_what_and_where(self, monkeypatch, tmp_path):
        from urllib.error import URLError

        import mace.calculators.foundations_models as foundations

        def offline(*args, **kwargs):
            raise URLError("no network")

        monkeypatch.setattr("urllib.request.urlopen", offline)
        monkeypatch.setattr(foundations, "get_cache_dir", lambda: str(tmp_path))
        engine = MaceEngine("medium-mpa-0")  # nothing happens yet
        with pytest.raises(BadInput, match=r"mace-mpa-0-medium\.model.*no network") as caught:
            engine.calculator()
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_corrupt_weights_are_bad_input(self, tmp_path):
        shutil.copytree(SHIPPED / "mini", tmp_path / "mine")
        weights = tmp_path / "mine" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(BadInput, match=r"model\.safetensors: corrupt"):
            MaceEngine(str(tmp_path / "mine")).calculator()

    def test_own_folder_is_read_like_the_shipped_one(self, tmp_path):
        shutil.copytree(SHIPPED / "mini", tmp_path / "mine")
        own, shipped = MaceEngine(str(tmp_path / "mine")), MaceEngine("mini")
        assert own.identity().sha256 == shipped.identity().sha256

    def test_own_model_file_gives_what_it_holds(self, tmp_path):
        torch.save(load_shipped(SHIPPED / "mini"), tmp_path / "own.model")
        energies = []
        for engine in (MaceEngine(str(tmp_path / "own.model")), MaceEngine("mini")):
            atoms = rattled_lif()
            atoms.calc = engine.calculator()
            energies.append(atoms.get_potential_energy())
        assert energies[0] == pytest.approx(energies[1], abs=1e-5)

    def test_foreign_pickle_is_bad_input(self, tmp_path):
        torch.save({"not": "a model"}, tmp_path / "other.model")
        with pytest.raises(BadInput, match="not a MACE model"):
            MaceEngine(str(tmp_path / "other.model")).calculator()

    def test_unpickling_stays_forbidden_for_everyone_else(self):
        MaceEngine("mini").calculator()
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


def test_mini_relaxes_lithium_fluoride_near_its_crystal():
    # the teacher's LiF is at a = 4.08 Å; a broken potential would run away
    atoms = bulk("LiF", "rocksalt", a=4.03, cubic=True)
    engine = MaceEngine("mini", dtype="float64")
    energies = []
    for a in (3.7, 4.08, 4.5):
        scaled = atoms.copy()
        scaled.set_cell([a] * 3, scale_atoms=True)
        scaled.calc = engine.calculator()
        energies.append(scaled.get_potential_energy())
    assert energies[1] < min(energies[0], energies[2])


class TestIntervals:
    def test_mini_uses_its_own_residuals(self):
        identity = MaceEngine("mini").identity()
        below, above = model_card(identity.sha256)["barrier_interval_90_ev"]
        assert below < 0 < above
        assert interval_90("mlip", identity, 2.0) == pytest.approx((2.0 + below, 2.0 + above))

    def test_others_use_the_published_residual(self):
        low, high = interval_90("mlip", None, 0.3)
        assert low == 0.0
        assert high == pytest.approx(0.3 + PUBLISHED_HALF_WIDTH_90_EV["mlip"][0])
