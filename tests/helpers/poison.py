"""Stages with one item that ends the process that works on it."""

import os
import signal

from workflows.stages.hops import enumerate_chunk
from workflows.stages.neb import run_group
from workflows.stages.score import score_chunk


def _die_of(poison, names):
    if os.environ[poison] in names:
        os.kill(os.getpid(), signal.SIGSEGV)


def enumerate_chunk_or_die(chunk, report):
    _die_of("POISONED_HOST", chunk.candidate_ids)
    return enumerate_chunk(chunk, report)


def score_chunk_or_die(chunk, report):
    _die_of("POISONED_HOP", chunk.hop_ids)
    return score_chunk(chunk, report)


def run_group_or_die(tasks, report):
    _die_of("POISONED_HOP", [task.hop_id for task in tasks])
    return run_group(tasks, report)
