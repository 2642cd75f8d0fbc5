"""What a store remembers of its ranking: how it was made, and how far the builder came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stores.calibration import UNCALIBRATED, Calibrations
from stores.screen_store import ScreenStore

RECIPE = 2
"""Goes up when the same documents give another ranking, which then has to be made anew."""

_MARK = "ranking"


@dataclass(frozen=True)
class RankSettings:
    """What a ranking depends on besides the documents: see ``rank_materials``."""

    temperature_k: float = 300.0
    dimension: int = 1


USUAL = RankSettings()


@dataclass(frozen=True)
class RankNote:
    """How the ranking was made.

    Attributes
    ----------
    began
        When the builder last looked at what had changed; None if everything is to be looked at.
    settings, calibrations
        What it was made with last.
    """

    began: datetime | None = None
    settings: RankSettings = USUAL
    calibrations: Calibrations = UNCALIBRATED

    @classmethod
    def read(cls, store: ScreenStore) -> RankNote:
        """Read it; a store that was never ranked has an empty one."""
        mark = store.marks.query_one({"name": _MARK})
        if mark is None:
            return cls()
        return cls(
            began=mark["began"] if mark["recipe"] == RECIPE else None,
            settings=RankSettings(mark["temperature_k"], mark["dimension"]),
            calibrations=Calibrations.from_rows(mark["calibrations"]),
        )

    def write(self, store: ScreenStore) -> None:
        """Remember it."""
        mark = {
            "name": _MARK,
            "recipe": RECIPE,
            "began": self.began,
            "temperature_k": self.settings.temperature_k,
            "dimension": self.settings.dimension,
            "calibrations": self.calibrations.as_rows(),
        }
        store.marks.update([mark])
