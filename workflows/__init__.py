"""The funnel: candidates, hops, scores, NEB and ranking as one jobflow graph."""
