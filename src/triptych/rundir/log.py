"""The log of a run: everything to `run.log`, short lines to the terminal, adverts to nobody."""

import importlib
import logging
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.text import Text

from triptych.rundir.masking import Masking
from triptych.rundir.terminal import console

# Loggers that carry handlers of their own to the terminal, which would print every line twice.
_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric")
_RECORDED = ("triptych", "lightning", "py.warnings")
# Lightning's word to the user, each of which advertises a product or repeats a setting: kept in run.log or dropped.
_ADVERTS = ("Tip: ", "litlogger", "litmodels")
# Loggers whose information is routine, too often for a terminal: each save of a checkpoint.
_ROUTINE = ("triptych.callbacks.checkpointing",)
_QUIET_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)


class RunLog:
    """Sends log records and Python warnings of this process to `run.log` and to the terminal; a context manager.

    `run.log` gets every record at INFO and above of the loggers `triptych.*` and `lightning.*` and every warning, with
    time and level. The terminal gets the messages of `triptych.*`, and only what is a warning or worse of Lightning;
    warnings meant for developers (deprecations, Lightning's guesses) stay in the file. Adverts are dropped.

    Args:
        path: the file, opened for appending; its folder is made where it is missing. None for one that only prints.
        masking: removes secrets from every line.
        rank: of this process; from the second on, only warnings reach the terminal, with the rank.
    """

    def __init__(self, path: Path | None, masking: Masking | None = None, rank: int = 0) -> None:
        self._path, self._rank = path, rank
        self._masking = masking or Masking()
        self._handlers: list[logging.Handler] = []
        self._changed: list[tuple[logging.Logger, int, bool, list[logging.Handler]]] = []
        self._advert = _NoAdverts()
        self._quiet: tuple[type[Warning], ...] = _QUIET_WARNINGS

    def __enter__(self) -> "RunLog":
        # Its import puts handlers on its loggers; they can only be taken off when they are there. A task that does
        # without Lightning is spared the seconds that its import takes.
        if "lightning" in sys.modules:
            importlib.import_module("lightning.pytorch")
            self._quiet += (importlib.import_module("lightning.fabric.utilities.warnings").PossibleUserWarning,)
        terminal = _Terminal(self._masking, f"rank {self._rank}: " if self._rank else "")
        terminal.setLevel(logging.WARNING if self._rank else logging.INFO)
        terminal.addFilter(_worth_showing)
        self._handlers.append(terminal)
        if self._path is not None:
            self._path.parent.mkdir(exist_ok=True)
            file = _File(self._path, encoding="utf-8")
            file.setFormatter(_Line(self._masking))
            self._handlers.append(file)
        for name in (*_CHATTY, "triptych", "py.warnings"):
            logger = logging.getLogger(name)
            self._changed.append((logger, logger.level, logger.propagate, list(logger.handlers)))
            for handler in list(logger.handlers):
                if type(handler) is logging.StreamHandler:
                    logger.removeHandler(handler)
            logger.propagate = name not in _RECORDED
            logger.setLevel(logging.INFO)
        for name in _RECORDED:
            for handler in self._handlers:
                handler.addFilter(self._advert)
                logging.getLogger(name).addHandler(handler)
        self._showwarning = warnings.showwarning
        warnings.showwarning = self._warn
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        warnings.showwarning = self._showwarning
        for logger, level, propagate, handlers in self._changed:
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)
        self._changed.clear()
        for handler in self._handlers:
            handler.close()
        self._handlers.clear()

    def _warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stands in for `warnings.showwarning`: the message to the log, the place only to the file."""
        if file is not None:
            self._showwarning(message, category, filename, lineno, file, line)
            return
        quiet = issubclass(category, self._quiet)
        logging.getLogger("py.warnings").warning(
            "%s", message, extra={"quiet": quiet, "place": f"{category.__name__} at {filename}:{lineno}"}
        )


class _Terminal(logging.Handler):
    """Prints through the shared console, which keeps a live progress display below the line."""

    def __init__(self, masking: Masking, prefix: str = "") -> None:
        super().__init__()
        self._masking, self._prefix = masking, prefix

    def emit(self, record: logging.LogRecord) -> None:
        text = self._prefix + self._masking.text(record.getMessage()).strip()
        if record.levelno >= logging.ERROR:
            line = Text.assemble(("error: ", "bold red"), text)
        elif record.levelno >= logging.WARNING:
            line = Text.assemble(("warning: ", "yellow"), text)
        else:
            line = Text(text)
        console().print(line)


class _File(logging.FileHandler):
    """Leaves a line out that cannot be written: what the full or failing disk means is told by what needs it more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging calls it
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Line(logging.Formatter):
    """`2026-11-22 10:43:17 INFO triptych.run: message`, with secrets masked, tracebacks included."""

    def __init__(self, masking: Masking) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
        self._masking = masking

    def format(self, record: logging.LogRecord) -> str:
        place = getattr(record, "place", None)
        return self._masking.text(super().format(record) + (f" ({place})" if place else ""))


class _NoAdverts(logging.Filter):
    """Drops Lightning's product tips, which it logs as ordinary lines of information."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("lightning") or record.levelno > logging.INFO:
            return True
        message = record.getMessage()
        return not any(advert in message for advert in _ADVERTS)


def _worth_showing(record: logging.LogRecord) -> bool:
    if getattr(record, "quiet", False):
        return False
    if record.levelno >= logging.WARNING:
        return True
    return record.name.startswith("triptych") and record.name not in _ROUTINE
