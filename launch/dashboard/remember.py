"""Answers that take seconds, kept for a while: to be looked at again, not to be asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

FRESH_S = 20.0
"""How long an answer is shown before it is asked for again."""

Answer = TypeVar("Answer")


def remembered(ask: Callable[[str], Answer]) -> Callable[[str], tuple[Answer, float]]:
    """Keep the answer to each question for :data:`FRESH_S`; give it with its age in seconds."""
    kept: dict[str, tuple[Answer, float]] = {}

    def answer(question: str) -> tuple[Answer, float]:
        now = time.monotonic()
        if question not in kept or now - kept[question][1] > FRESH_S:
            kept[question] = ask(question), time.monotonic()
        found, made = kept[question]
        return found, max(0.0, now - made)

    return answer
