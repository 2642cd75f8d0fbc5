"""Dimension and limiting barrier on lattices with known answers, and against brute force."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.network import HopBarrier, PeriodicNetwork, limiting_barrier, reached_dimension

X, Y, Z = (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)

LATTICES = {
    "no edge": ([], 0),
    "chain": ([X], 1),
    "chain along a diagonal": ([(0, 0, 1, 1, 1)], 1),
    "second neighbours of a chain": ([(0, 0, 2, 0, 0)], 1),
    "square": ([X, Y], 2),
    "parallel vectors": ([(0, 0, 1, 1, 0), (0, 0, 2, 2, 0)], 1),
    "coplanar vectors": ([(0, 0, 1, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 1, 0)], 2),
    "simple cubic": ([X, Y, Z], 3),
    "pair": ([(0, 1, 0, 0, 0)], 0),
    "zigzag chain": ([(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)], 1),
    "zigzag chain, written backwards": ([(1, 0, 0, 0, 0), (0, 1, -1, 0, 0)], 1),
    "cage of four": ([(0, 1, 0, 0, 0), (1, 2, 0, 0, 0), (2, 3, 0, 0, 0), (0, 3, 0, 0, 0)], 0),
    "cage across a face": ([(0, 1, 1, 0, 0), (1, 2, -1, 0, 0), (2, 0, 0, 0, 0)], 0),
    "dead ends on a chain": ([X, (0, 1, 0, 1, 0), (0, 2, 0, 0, 1)], 1),
    "two crossing chains that do not meet": ([(0, 0, 1, 0, 0), (1, 1, 0, 1, 0)], 1),
    "the same chains, linked": ([(0, 0, 1, 0, 0), (1, 1, 0, 1, 0), (0, 1, 0, 0, 0)], 2),
    "interpenetrating cubic nets": (
        [(i, i, *v) for i in (0, 1) for v in ((1, 0, 0), (0, 1, 0), (0, 0, 1))],
        3,
    ),
    "honeycomb": ([(0, 1, 0, 0, 0), (0, 1, -1, 0, 0), (0, 1, 0, -1, 0)], 2),
    "diamond": (
        [(0, 1, 0, 0, 0), (0, 1, -1, 0, 0), (0, 1, 0, -1, 0), (0, 1, 0, 0, -1)],
        3,
    ),
}


@pytest.mark.parametrize(("edges", "dimension"), LATTICES.values(), ids=list(LATTICES))
def test_dimension_of_known_lattices(edges, dimension):
    assert reached_dimension(edges) == dimension
    assert reached_dimension([list(edge) for edge in edges]) == dimension
    assert reached_dimension(edges[::-1]) == dimension


def edges_of(num_sites=4, max_size=8):
    site = st.integers(0, num_sites - 1)
    step = st.integers(-2, 2)
    return st.lists(st.tuples(site, site, step, step, step), max_size=max_size)


def brute_dimension(edges):
    """Rank of the cycle vectors of a spanning tree, by numpy."""
    graph = nx.MultiGraph()
    for number, (i, j, *step) in enumerate(edges):
        graph.add_edge(i, j, key=number, step=np.array(step), start=i)
    best = 0
    for component in nx.connected_components(graph):
        root = min(component)
        at = {root: np.zeros(3)}
        queue = [root]
        while queue:
            node = queue.pop()
            for _, other, data in graph.edges(node, data=True):
                if other not in at:
                    sign = 1 if data["start"] == node else -1
                    at[other] = at[node] + sign * data["step"]
                    queue.append(other)
        cycles = [
            at[data["start"]] + data["step"] - at[v if data["start"] == u else u]
            for u, v, data in graph.subgraph(component).edges(data=True)
        ]
        best = max(best, int(np.linalg.matrix_rank(np.array(cycles)))) if cycles else best
    return best


@given(edges_of())
def test_dimension_is_the_rank_of_the_cycles(edges):
    assert reached_dimension(edges) == brute_dimension(edges)


@given(edges_of(), st.randoms(use_true_random=False))
def test_dimension_does_not_depend_on_order_direction_or_cell(edges, random):
    shuffled = list(edges)
    random.shuffle(shuffled)
    origin = {i: [random.randint(-3, 3) for _ in range(3)] for i in range(4)}
    moved = []
    for i, j, *step in shuffled:
        there = [s + origin[j][k] - origin[i][k] for k, s in enumerate(step)]
        forward = (i, j, *there)
        moved.append(random.choice([forward, (j, i, *(-x for x in there))]))
    assert reached_dimension(moved) == reached_dimension(edges)


@given(edges_of(max_size=12))
def test_growing_edge_by_edge_never_loses_a_dimension(edges):
    network = PeriodicNetwork()
    grown = [network.add([edge]) for edge in edges]
    assert grown == sorted(grown)
    assert network.dimension == reached_dimension(edges)


def hop(name, edges, barrier, halfwidth=0.0):
    return HopBarrier(name, edges, barrier, (barrier - halfwidth, barrier + halfwidth))


def test_anisotropic_square_lattice():
    hops = [hop("easy", [X], 0.2), hop("hard", [Y], 0.5)]
    assert limiting_barrier(hops, 1).barrier_ev == 0.2
    assert limiting_barrier(hops, 1).limiting_hop_id == "easy"
    assert limiting_barrier(hops, 2).barrier_ev == 0.5
    assert limiting_barrier(hops, 2).limiting_hop_id == "hard"
    assert limiting_barrier(hops, 3) is None


def test_the_best_hop_does_not_count_if_it_leads_nowhere():
    hops = [
        hop("rattle", [(0, 1, 0, 0, 0)], 0.05),
        hop("through", [(0, 1, 1, 0, 0)], 0.4),
        hop("dead end", [(0, 2, 0, 0, 0)], 0.1),
    ]
    limit = limiting_barrier(hops, 1)
    assert (limit.barrier_ev, limit.limiting_hop_id) == (0.4, "through")


def test_a_detour_of_low_hops_beats_a_direct_high_one():
    hops = [
        hop("direct", [X], 0.9),
        hop("in", [(0, 1, 0, 0, 0)], 0.3),
        hop("out", [(1, 0, 1, 0, 0)], 0.35),
    ]
    limit = limiting_barrier(hops, 1)
    assert (limit.barrier_ev, limit.limiting_hop_id) == (0.35, "out")


def test_interpenetrating_networks_are_judged_by_the_better_one():
    def cubic(site):
        return [(site, site, 1, 0, 0), (site, site, 0, 1, 0), (site, site, 0, 0, 1)]

    hops = [hop("net a", cubic(0), 0.6), hop("net b", cubic(1), 0.3)]
    assert [limiting_barrier(hops, d).limiting_hop_id for d in (1, 2, 3)] == ["net b"] * 3


def test_intervals_propagate_and_name_alternatives():
    hops = [
        HopBarrier("a", [(0, 1, 0, 0, 0)], 0.40, (0.30, 0.55)),
        HopBarrier("b", [(1, 0, 1, 0, 0)], 0.42, (0.35, 0.50)),
        HopBarrier("far", [X], 2.0, (1.8, 2.2)),
        HopBarrier("aside", [(0, 2, 0, 0, 0)], 0.45, (0.2, 0.9)),
    ]
    limit = limiting_barrier(hops, 1)
    assert limit.barrier_ev == 0.42
    assert limit.limiting_hop_id == "b"
    assert limit.interval_90_ev == (0.35, 0.55)
    # "far" is too dear to be taken at all, "aside" leads nowhere.
    assert limit.alternatives == ("a",)


def test_ties_are_settled_by_the_id():
    hops = [hop(name, [X], 0.3) for name in ("b", "a", "c")]
    assert limiting_barrier(hops, 1).limiting_hop_id == "a"
    assert limiting_barrier(hops[::-1], 1).limiting_hop_id == "a"


def test_bad_arguments():
    with pytest.raises(ValueError, match="give 1, 2 or 3"):
        limiting_barrier([], 4)
    with pytest.raises(ValueError, match="outside of its interval"):
        HopBarrier("a", [X], 0.5, (0.6, 0.7))


def brute_limit(barriers, edges, dimension):
    """Least barrier at which the hops up to it percolate, and the hop that has it."""
    for barrier, name in sorted((value, name) for name, value in barriers.items()):
        opened = [e for n, v in barriers.items() if (v, n) <= (barrier, name) for e in edges[n]]
        if brute_dimension(opened) >= dimension:
            return barrier, name
    return None


@st.composite
def materials(draw):
    """Hops whose estimates and bounds are all different, so that no two ever tie."""
    orbits = draw(st.lists(edges_of(num_sites=3, max_size=2), min_size=1, max_size=5))
    count = 3 * len(orbits)
    values = draw(st.permutations(range(count)))
    hops = []
    for number, orbit in enumerate(orbits):
        low, middle, high = sorted(n / count for n in values[3 * number : 3 * number + 3])
        hops.append(HopBarrier(f"h{number}", orbit, middle, (low, high)))
    return hops


@given(materials(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_limit_and_interval_hold_for_any_barriers_within_the_intervals(hops, dimension, random):
    edges = {h.hop_id: h.edges for h in hops}
    limit = limiting_barrier(hops, dimension)
    expected = brute_limit({h.hop_id: h.barrier_ev for h in hops}, edges, dimension)
    if expected is None:
        assert limit is None
        return
    assert (limit.barrier_ev, limit.limiting_hop_id) == expected
    corners = []
    for pick in (lambda h: h.interval_90_ev[0], lambda h: h.interval_90_ev[1]):
        corners.append(brute_limit({h.hop_id: pick(h) for h in hops}, edges, dimension)[0])
    assert limit.interval_90_ev == tuple(corners)
    for _ in range(5):
        drawn = {h.hop_id: random.uniform(*h.interval_90_ev) for h in hops}
        low, high = limit.interval_90_ev
        assert low <= brute_limit(drawn, edges, dimension)[0] <= high


@given(materials(), st.integers(1, 3))
def test_alternatives_are_the_hops_that_limit_within_their_own_interval(hops, dimension):
    edges = {h.hop_id: h.edges for h in hops}
    limit = limiting_barrier(hops, dimension)
    if limit is None:
        return
    scenarios = [
        {h.hop_id: h.barrier_ev for h in hops},
        {h.hop_id: h.interval_90_ev[0] for h in hops},
        {h.hop_id: h.interval_90_ev[1] for h in hops},
    ]
    may_limit = set()
    for values, h in itertools.product(scenarios, hops):
        low, high = h.interval_90_ev
        # Between two neighbouring values of the others nothing changes: try each gap.
        marks = sorted({low, high, *(v for v in values.values() if low < v < high)})
        for t in (low, high, *((a + b) / 2 for a, b in itertools.pairwise(marks))):
            if brute_limit({**values, h.hop_id: t}, edges, dimension)[1] == h.hop_id:
                may_limit.add(h.hop_id)
    assert {*limit.alternatives, limit.limiting_hop_id} == may_limit
