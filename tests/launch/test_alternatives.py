"""`show` names the hops that may limit a material instead, within the intervals."""

from launch.cli import run_command
from stores.documents import BarrierDoc, CandidateDoc, HopDoc, Provenance
from stores.ranking import rank_materials
from stores.screen_store import open_store

ORIGIN = Provenance(versions={"hopscreen": "0"})
COMMON = {"candidate_id": "m:Li", "material_id": "m", "working_ion": "Li", "provenance": ORIGIN}

HOPS = {
    # One way along x in two steps, a dear shortcut, and a step that leads nowhere.
    "out": ((0, 1, 0, 0, 0), 0.40, (0.30, 0.55)),
    "back": ((1, 0, 1, 0, 0), 0.42, (0.35, 0.50)),
    "shortcut": ((0, 0, 1, 0, 0), 2.0, (1.8, 2.2)),
    "aside": ((0, 2, 0, 0, 0), 0.45, (0.2, 0.9)),
}


def write(uri, **more):
    with open_store(uri) as store:
        store.put([CandidateDoc(formula="LiX", source="test", screens=["s"], **COMMON, **more)])
        for name, (edge, value, bounds) in HOPS.items():
            i, j, *step = edge
            hop = HopDoc(
                hop_id=name, sites=(i, j), translation=step, length_ang=3.0, multiplicity=1,
                edges=[edge], dimension=1, recipe_version=1, **COMMON,
            )  # fmt: skip
            barrier = BarrierDoc(
                barrier_id=f"{name}-band", hop_id=name, level="band", status="done",
                barrier_ev=value, interval_90_ev=bounds, **COMMON,
            )  # fmt: skip
            store.put([hop])
            store.put([barrier])
        assert rank_materials(store) == 1


def row_of(text, name):
    (row,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return row


def test_show_marks_the_limiting_hop_and_those_that_may_be(tmp_path, capfd):
    uri = str(tmp_path / "a.store")
    write(uri)
    assert run_command(["show", "m:Li", "--store", uri]) == 0
    text = capfd.readouterr().out
    assert "◄ limits" in row_of(text, "back")
    assert "may limit" in row_of(text, "out")
    assert "limit" not in row_of(text, "shortcut") + row_of(text, "aside")
    assert row_of(text, "1D").split()[-2:] == ["back", "1"]


def test_show_says_where_inserted_ions_sit(tmp_path, capfd):
    uri = str(tmp_path / "a.store")
    write(uri, inserted={"method": "bond_valence", "valences": [1.07], "largest_mismatch": 0.07})
    assert run_command(["show", "m:Li", "--store", uri]) == 0
    assert "sites of the ion: by bond valence; its hops are dilute" in capfd.readouterr().out
