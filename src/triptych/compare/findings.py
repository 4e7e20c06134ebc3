"""All that a comparison of two runs has found."""

from dataclasses import dataclass

from triptych.analysis.changes import Change
from triptych.analysis.traces import TraceComparison
from triptych.compare.side import Side


@dataclass(frozen=True)
class Findings:
    """Two runs and what differs between them.

    Attributes:
        first: a run.
        second: the run that it is compared with.
        settings: what differs in config.yaml.
        surroundings: what differs of versions, device and command in summary.json; None where a run has none yet.
        trace: what they logged.
    """

    first: Side
    second: Side
    settings: list[Change]
    surroundings: list[Change] | None
    trace: TraceComparison
