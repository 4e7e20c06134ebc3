"""A secret of the environment that turns up in what goes wrong; every other event looks for it, too."""

import logging
import warnings
from collections.abc import Callable, Iterator

from triptych.errors import UserError

from .fault import SECRET, Event, Scene


def events() -> Iterator[Event]:
    """In an exception, a user's mistake, a line of the log, a warning."""
    ways: dict[str, tuple[Callable[[Scene], None], tuple[int, ...]]] = {
        "exception": (_raise, (1,)), "mistake": (_mistake, (2,)), "log": (_log, (0,)), "warning": (_warn, (0,)),
    }  # fmt: skip
    for subject in ("one", "two"):
        for name, (strike, codes) in ways.items():
            yield Event(
                name=f"secret-{subject}-{name}", invariant=12, injection="a secret in what is told", subject=subject,
                where=name, strike=strike, step=5, codes=codes,
            )  # fmt: skip


def _raise(scene: Scene) -> None:
    raise RuntimeError(f"401: token {SECRET} is not valid")


def _mistake(scene: Scene) -> None:
    raise UserError(f"token {SECRET} is not valid")


def _log(scene: Scene) -> None:
    logging.getLogger("triptych.data").warning("asked with %s", SECRET)


def _warn(scene: Scene) -> None:
    warnings.warn(f"asked with {SECRET}", UserWarning, stacklevel=1)
