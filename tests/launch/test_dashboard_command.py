"""``hopscreen dashboard``: the command and its server."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import venv
from pathlib import Path

import pytest
import sample_screen

from launch.cli import run_command
from launch.dashboard import charts, formats, scene
from launch.dashboard.server import make_server
from stores.queries import HopView
from stores.screen_store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("screen") / "screen")
    with open_store(folder) as opened:
        sample_screen.write(opened)
    return folder


def test_it_serves_on_a_free_port_until_it_is_stopped(store):
    process = subprocess.Popen(
        [sys.executable, "-m", "launch", "dashboard", "--store", store, "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        # Two requests over one connection, and a third over another.
        for path in ("/", "/funnel"):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200
            assert b"hopscreen" in answer.read()
        assert "127.0.0.1" in line
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert out == ""
    assert err == "hopscreen: stopped\n"


def test_a_taken_port_is_said_in_a_line(store, capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run_command(["dashboard", "--store", store, "--port", port]) == 2
    err = capfd.readouterr().err
    assert f"127.0.0.1:{port}: Address already in use; choose another --port" in err
    assert err.count("\n") == 1


def test_no_store_is_said_in_a_line(tmp_path, capfd):
    assert run_command(["dashboard", "--store", str(tmp_path / "none")]) == 2
    err = capfd.readouterr().err
    assert "not a hopscreen store" in err
    assert err.count("\n") == 1


def test_what_is_missing_is_named_with_its_remedy(store, tmp_path):
    # An environment with everything but Flask: every other folder of the packages, linked.
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    target = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    for entry in {Path(p) for p in sys.path if p.endswith("site-packages")}:
        for item in entry.iterdir():
            if item.name != "flask" and not (target / item.name).exists():
                (target / item.name).symlink_to(item)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [str(python), "-m", "launch", "dashboard", "--store", store],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "hopscreen: dashboard: flask is not installed; run: pip install 'hopscreen[dashboard]'\n"
    )


def test_many_ask_at_once(store):
    statuses = []

    def ask(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for path in ("/", "/material?id=A:Li", "/jobs", "/ranking.csv"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)

    with open_store(store, create=False) as opened, make_server(opened) as server:
        assert server.is_private
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threads = [threading.Thread(target=ask, args=(server.port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.shutdown()
    assert statuses == [200] * 32


def test_colours_go_from_open_to_closed():
    assert formats.barrier_colour(0.0) == formats.COLOURS[0]
    assert formats.barrier_colour(-1.0) == formats.COLOURS[0]
    assert formats.barrier_colour(9.9) == formats.COLOURS[-1]
    assert formats.barrier_colour(None) == formats.UNKNOWN_COLOUR
    step = formats.SCALE_TOP_EV / (len(formats.COLOURS) - 1)
    assert [formats.barrier_colour(n * step) for n in range(6)] == list(formats.COLOURS)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Li7La3Zr2O12", "Li<sub>7</sub>La<sub>3</sub>Zr<sub>2</sub>O<sub>12</sub>"),
        ("Li0.5CoO2", "Li<sub>0.5</sub>CoO<sub>2</sub>"),
        ("Ca3(PO4)2", "Ca<sub>3</sub>(PO<sub>4</sub>)<sub>2</sub>"),
        ("<b>1</b>", "&lt;b&gt;1&lt;/b&gt;"),
    ],
)
def test_formulas(text, html):
    assert str(formats.formula(text)) == html


def test_numbers_for_people():
    assert str(formats.power(2.7e-5)) == "2.7 × 10<sup>−5</sup>"
    assert str(formats.power(0.0)) == "0"
    assert formats.count(1234567) == "1\u202f234\u202f567"
    assert formats.seconds(7500) == "2.1 h"


def _scene(**more):
    hop = sample_screen.hop("A", **more)
    view = HopView(hop, [sample_screen.barrier(hop, "band", 0.6)])
    return scene.scene(sample_screen.cubic(), "Li", [view])


def test_the_network_fills_the_repeated_cell():
    made = _scene()
    # 4 Å are repeated to 8 Å: 3 × 3 × 3 corners, 54 edges between neighbours, 8 centres.
    assert made["repeats"] == [2, 2, 2]
    ion, host = made["atoms"]
    assert (ion["element"], len(ion["points"])) == ("Li", 27)
    assert (host["element"], len(host["points"])) == ("O", 8)
    (hop,) = made["hops"]
    assert len(hop["segments"]) == 54
    for start, end in hop["segments"]:
        assert sum((a - b) ** 2 for a, b in zip(start, end, strict=True)) == pytest.approx(16)
        assert min(*start, *end) >= 0
        assert max(*start, *end) <= 8
    assert hop["colour"] == formats.barrier_colour(0.6)
    assert hop["label"] == "4.00 Å, 0.60 eV"
    assert len(made["cell"]) == 12
    json.dumps(made)


def test_a_hop_that_leaves_the_box_is_drawn_with_its_end():
    made = _scene(edges=[(0, 0, 5, 0, 0)], length_ang=20.0, dimension=1)
    (hop,) = made["hops"]
    assert hop["segments"]
    ends = {tuple(end) for _, end in hop["segments"]}
    assert ends <= {tuple(point) for point in made["atoms"][0]["points"]}


def test_segments_are_limited(monkeypatch):
    monkeypatch.setattr(scene, "MAX_SEGMENTS", 10)
    made = _scene()
    assert len(made["hops"][0]["segments"]) == 10
    assert made["cut"] == 44


def test_an_interval_stands_at_the_saddle():
    hop = sample_screen.hop("A")
    docs = [
        sample_screen.barrier(hop, "band", 0.25),
        sample_screen.barrier(hop, "mlip", 0.30, profile=sample_screen.profile(0.30)),
        sample_screen.barrier(hop, "dft", None),
    ]
    dashed, point, profile = charts.profiles(docs)["data"]
    assert dashed["y"] == [0.25, 0.25]
    assert point["error_y"]["array"] == [pytest.approx(0.15)]
    assert profile["x"] == [0, 0.25, 0.5, 0.75, 1]
    at = profile["error_y"]["array"].index(max(profile["error_y"]["array"]))
    assert at == 2
    assert profile["y"][at] + profile["error_y"]["array"][at] == pytest.approx(0.45)
    assert profile["y"][at] - profile["error_y"]["arrayminus"][at] == pytest.approx(0.20)
    assert "demo&lt;" in charts.name(sample_screen.barrier(hop, "dft", 0.1, label="demo<"))
