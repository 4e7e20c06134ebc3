"""One of the two runs that are compared: what it logged, was set to and ran on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.analysis.metrics import EPOCH, STEP, MetricsTable, Number, read_metrics
from triptych.errors import UserError
from triptych.plain import read_json, read_yaml
from triptych.rundir import RunDirectory


@dataclass(frozen=True)
class Side:
    """A run, as its directory tells it at this moment: it may still be written.

    Attributes:
        path: of the run directory.
        table: the rows of metrics.csv, one at least.
        settings: config.yaml.
        summary: summary.json; None where no process of the run has ended yet, but by a kill.
    """

    path: Path
    table: MetricsTable
    settings: dict[str, Any]
    summary: dict[str, Any] | None

    @property
    def last_step(self) -> int:
        """The last one in metrics.csv."""
        return int(self.table.rows[-1][STEP])

    @property
    def status(self) -> str:
        """How it ended, as far as its files know."""
        if self.summary is None or self.summary["steps"] < self.last_step:
            return "not ended: it still runs, or was killed"
        return str(self.summary["status"])

    @property
    def final(self) -> dict[str, tuple[int, Number]]:
        """The last value of each metric, finite or not, and its step."""
        return {
            name: (int(row[STEP]), row[name]) for row in self.table.rows for name in row if name not in (STEP, EPOCH)
        }


def read_side(path: str) -> Side:
    """The run at `path`.

    Raises:
        UserError: there is no run, it has logged nothing, or a file of it is damaged.
    """
    run = RunDirectory.open(path)
    try:
        table = read_metrics(run.metrics)
        settings = read_yaml(run.config)
        summary = read_json(run.summary) if run.summary.exists() else None
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the run '{run.path}' cannot be read: {first}. Give one whose files are whole") from error
    for file, found, empty in ((run.config, settings, {}), (run.summary, summary, None)):
        if not isinstance(found, dict) and found is not empty:
            raise UserError(f"{file} is damaged: it holds no settings by name. Give a run whose files are whole")
    if not table.rows:
        what = "holds no logged step yet" if run.metrics.exists() else "is not there"
        raise UserError(
            f"the run '{run.path}' has no metrics to compare: its metrics.csv {what}. "
            "Give a run of `triptych train` or `triptych finetune` that has logged a step"
        )
    return Side(run.path, table, settings, summary)
