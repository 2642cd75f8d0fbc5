"""One look at a store: everything that ``hopscreen status`` says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from launch.pace import Pace, is_over, paces
from launch.run_states import run_states, submission_states
from stores import queries
from stores.screen_store import ScreenStore

_AT_WORK = {"waiting", "queued", "running"}


@dataclass(frozen=True)
class Look:
    """Where the screens of a store stand at one moment."""

    summary: queries.Summary
    paces: dict[str, Pace]
    runs: list[dict[str, Any]]
    submissions: list[dict[str, Any]]

    @property
    def over(self) -> bool:
        """Whether nobody is at work any more, or everything has been done."""
        if any(run["state"] == "running" for run in self.runs):
            return False
        for state in self.submissions:
            jobs = state["jobs"] or {}
            stuck = jobs.keys() & {"failed", "stopped"}
            if jobs.keys() & (_AT_WORK - ({"waiting"} if stuck else set())):
                return False
        return is_over(self.paces) or not any(pace.running for pace in self.paces.values())

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        content = asdict(self.summary)
        content["failures"] = [
            {**asdict(group), "example": group.example.model_dump()}
            for group in self.summary.failures
        ]
        for stage in content["stages"]:
            pace = self.paces[stage["stage"]].as_dict()
            stage.update(pace)
        return {**content, "runs": self.runs, "submissions": self.submissions}

    def views(self) -> list[Any]:
        """Return it for people."""
        from launch.views import failure_lines, funnel_table, refusal_lines, submission_lines

        local = [
            f"{run['name']}: {run['state']}, {run['jobs_done']} jobs done; {run['now']}"
            for run in self.runs
        ]
        return [
            funnel_table(self.summary, self.paces),
            *refusal_lines(self.summary),
            *failure_lines(self.summary.failures),
            *local,
            *submission_lines(self.submissions),
        ]


def look_at(store: ScreenStore) -> Look:
    """Look at a store once."""
    summary = queries.summary(store)
    return Look(summary, paces(store, summary), run_states(store), submission_states(store))
