import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from em_model.data import Band, assign_hosts, read_bands
from em_model.paper.published import AlignnConfig, PublishedModel3

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("HOPSCREEN_SHARED", Path(__file__).parents[4] / "shared"))
TRAIN = SHARED / "data" / "em_barriers_train.jsonl.gz"


def recipe_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that the reference answers were made with (see data/model3_reference.json)."""
    state = model.state_dict()
    for key, value in state.items():
        if not value.dtype.is_floating_point or "centers" in key:
            continue
        draw = np.random.RandomState(zlib.crc32(key.encode()))
        a = torch.from_numpy(draw.standard_normal(tuple(value.shape)).astype(np.float32))
        if key.endswith("running_var"):
            state[key] = 0.5 + a.abs()
        elif key.endswith("weight"):
            state[key] = a / a.shape[1] ** 0.5 if a.ndim == 2 else 1 + 0.1 * a
        else:
            state[key] = 0.1 * a
    return state


def recipe_model(config: AlignnConfig | None = None) -> PublishedModel3:
    model = PublishedModel3(config)
    model.load_state_dict(recipe_state(model))
    return model.eval()


def rocksalt_band(barrier_ev: float | None = None) -> Band:
    """A Li hop in a 2 x 2 x 2 LiF cell: 5 path sites and a host with one vacancy, ties galore."""
    a = 4.03
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    li = (base[None] + cells[:, None]).reshape(-1, 3) / 2
    f = (base[None] + np.array([0.5, 0.5, 0.5]) + cells[:, None]).reshape(-1, 3) / 2
    path = li[0] + np.linspace(0, 1, 5)[:, None] * (li[1] - li[0])
    return Band(
        id="lif",
        working_ion="Li",
        lattice=np.eye(3) * 2 * a,
        species=("Li",) * (5 + len(li) - 2) + ("F",) * len(f),
        frac_coords=np.concatenate([path, li[2:], f]),
        barrier_ev=barrier_ev,
        host="F",
    )


def host_bands() -> list[Band]:
    """Six hosts of two bands; the barrier is a function of the lattice."""
    made = []
    for i, anion in enumerate(["F", "Cl", "Br", "I", "O", "S"]):
        for k in range(2):
            band = rocksalt_band()
            scale = 0.95 + 0.02 * i + 0.005 * k
            species = tuple(anion if s == "F" else s for s in band.species)
            changed = {"id": f"{anion}{k}", "species": species, "host": None}
            changed |= {"lattice": band.lattice * scale, "barrier_ev": 4 * (scale - 0.9)}
            made.append(Band(**{**band.__dict__, **changed}))
    return assign_hosts(made)


def write_bands(path: Path, bands: list[Band]) -> Path:
    records = [
        {
            "id": b.id,
            "working_ion": b.working_ion,
            "lattice": b.lattice.tolist(),
            "species": list(b.species),
            "frac_coords": b.frac_coords.tolist(),
            "barrier_ev": b.barrier_ev,
        }
        for b in bands
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


@pytest.fixture(scope="session")
def reference() -> dict:
    return json.loads((HERE / "data" / "model3_reference.json").read_text())


@pytest.fixture(scope="session")
def train_bands() -> dict[str, Band]:
    if not TRAIN.exists():
        pytest.skip("the published training bands are not beside the project (HOPSCREEN_SHARED)")
    return {band.id: band for band in read_bands(TRAIN)}
