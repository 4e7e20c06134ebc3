"""Records which samples made up a step whose loss or gradients were no numbers."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger("triptych.bad_steps")

FILE = "bad_steps.jsonl"
_SHOWN = 5


class BadSteps:
    """One line of JSON for each: the step, what was wrong, the numbers and names of this process's samples.

    Args:
        file: appended to, and made with the first line.
        name: what a sample of the training data is called.
    """

    def __init__(self, file: Path, name: Callable[[int], str]) -> None:
        self._file, self._name = file, name

    @classmethod
    def of(cls, run: Path, rank: int, name: Callable[[int], str]) -> "BadSteps":
        """`bad_steps.jsonl` of a run directory; that of another process than the first lies among its logs."""
        return cls(run / FILE if rank == 0 else run / "logs" / f"rank_{rank:05d}_{FILE}", name)

    def left_out(self, step: int, reason: str, samples: Sequence[int]) -> None:
        """A step that was not made, after which training goes on."""
        log.warning("step %d was left out: %s%s", step, reason, self._note(step, reason, samples))

    def stopped(self, step: int, reason: str, samples: Sequence[int]) -> str:
        """The step that ended training; where its samples stand, as a message goes on."""
        return self._note(step, reason, samples)

    def _note(self, step: int, reason: str, samples: Sequence[int]) -> str:
        if not samples:
            return ""
        names = [self._name(sample) for sample in samples]
        line = {"step": step, "reason": reason, "samples": list(samples), "names": names}
        self._file.parent.mkdir(exist_ok=True)
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f". Its samples were {', '.join(names[:_SHOWN])}{more}: see {self._file}"
