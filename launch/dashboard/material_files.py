"""What a material's page gives to take along: structure, documents, images of the bands.

Files of a calculation's own folder are named on the page and never served: the path comes from
the store, and a store may come from anybody.
"""

from __future__ import annotations

import io
import json
import re

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from flask import Flask, Response, abort, request

from launch.dashboard.material_page import material_of
from launch.result_commands import plain_view
from stores.documents import BarrierDoc
from stores.screen_store import ScreenStore
from workflows.hosts import host_of


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the downloads of this module."""
    app.add_url_rule("/structure.cif", "structure", lambda: _structure(store))
    app.add_url_rule("/material.json", "documents", lambda: _documents(store))
    app.add_url_rule("/images.extxyz", "images", lambda: _images(store))


def _structure(store: ScreenStore) -> Response:
    view = material_of(store, request.args.get("id", ""))
    if view.candidate.structure is None:
        abort(404, f"{view.candidate.candidate_id} has no structure")
    text = host_of(view.candidate).to(fmt="cif")
    return _file(text, "chemical/x-cif", f"{view.candidate.candidate_id}.cif")


def _documents(store: ScreenStore) -> Response:
    view = material_of(store, request.args.get("id", ""))
    text = json.dumps(plain_view(view), indent=2, ensure_ascii=False)
    return _file(text, "application/json", f"{view.candidate.candidate_id}.json")


def _images(store: ScreenStore) -> Response:
    doc = store.get(BarrierDoc, barrier_id=request.args.get("id", ""))
    if doc is None or doc.blob_id is None:
        abort(404, "no images are kept of this estimate")
    try:
        frames = store.load_blob(doc.blob_id)["images"]
    except KeyError:
        abort(404, f"the images {doc.blob_id} are not in this store any more")
    text = io.StringIO()
    for frame in frames:
        atoms = Atoms(
            frame["species"], positions=frame["positions_ang"], cell=frame["cell_ang"], pbc=True
        )
        if frame.get("energy_ev") is not None:
            atoms.calc = SinglePointCalculator(atoms, energy=frame["energy_ev"])
        write(text, atoms, format="extxyz")
    return _file(text.getvalue(), "chemical/x-xyz", f"{doc.barrier_id}.extxyz")


def _file(text: str, kind: str, name: str) -> Response:
    response = Response(text, mimetype=kind)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    response.headers["Content-Disposition"] = f'attachment; filename="{safe}"'
    return response
