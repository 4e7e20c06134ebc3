"""The two ways a run ends early, each with its exit code."""

import contextlib
import sys
from collections.abc import Sequence


class UserError(Exception):
    """A mistake that the user can mend: one readable message, exit code 2, no traceback.

    The message says what was wrong, quotes both values (what was given, what was expected) and names the way out.
    """

    exit_code = 2


def say(text: str) -> None:
    """To standard error. Where that is no more (a full disk, a terminal that is gone), the exit code tells enough."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def shown(message: object) -> str:
    """A message as text for a terminal: names that somebody else chose (of files, classes, weights) may hold characters
    that would move its cursor or change its title.
    """
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in str(message)
    )


class TrainingFault(Exception):
    """Training itself went wrong (a loss that is not finite): exit code 3, and the last good checkpoint is named."""

    exit_code = 3

    def __init__(self, message: str, step: int | None = None, samples: Sequence[int] = ()) -> None:
        """`step` is the optimizer step, counted from 1, that was not made, None where no step is to blame; `samples`
        are the numbers of the samples that this process had in it.
        """
        super().__init__(message)
        self.step, self.samples = step, list(samples)
