"""Runs as a user would start them, in processes forked from one that has imported all: a start takes no seconds."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning.pytorch import Callback

import triptych.job
import triptych.run
from triptych.cli import main

from .fault import Event, Moments, Scene

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Whatever a run leaves behind becomes a child of this process, and can be counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def begin(words: Sequence[str], event: Event | None, scene: Scene, part: str) -> int:
    """Starts `triptych train` with these words in a process of its own; its number.

    What it prints goes to `printed_PART`, and the step of each save that it reports to `acknowledged`, in the
    event's folder.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        out = os.open(scene.place / f"printed_{part}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        triptych.job.RunPictures = lambda *given: _moments(event, scene, part)  # pyright: ignore
        fork = multiprocessing.get_context("fork")
        multiprocessing.get_context = lambda method=None: fork  # pyright: ignore
        logging.getLogger("triptych.callbacks.checkpointing").addHandler(_Acknowledged(scene.place / "acknowledged"))
        code = main(["train", *words])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(code)


def _moments(event: Event | None, scene: Scene, part: str) -> Callback:
    return Moments(event, scene, part)


class _Acknowledged(logging.Handler):
    """Notes what the run says that it has saved, where no fault reaches it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().split()
        if words[0] == "saved":
            with open(self._path, "a") as file:
                print(Path(words[1]).name, file=file)


def wait(child: int, seconds: float, meanwhile: Callable[[], None]) -> tuple[int | None, float]:
    """The exit code as a shell tells it, None where it had to be ended after so many seconds; and how long it took."""
    began = time.monotonic()
    pause = 0.01
    while time.monotonic() - began < seconds:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return (128 - code if code < 0 else code), time.monotonic() - began
        meanwhile()
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, time.monotonic() - began


def orphans(patience: float = 3.0) -> list[str]:
    """Processes that a run has left, which are ended here. Those that are ending have a moment to do so."""
    deadline = time.monotonic() + patience
    while True:
        left = _children()
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    names = []
    for number in left:
        names.append(Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")[:80] or str(number))
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
    return names


def _children() -> list[int]:
    """Living children of this process; the dead are buried on the way."""
    living = []
    for number in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            if os.waitpid(int(number), os.WNOHANG)[0] == 0:
                living.append(int(number))
        except ChildProcessError:
            continue
    return living
