"""The one exception that callers of the band model have to know."""

from __future__ import annotations


class BadInput(ValueError):
    """Input that cannot be used; one line that names file, field and remedy."""
