"""Processes of one machine that share a job, started from here; needs no torch.

Each finds its place in the environment variables that torchrun sets too, so what they run is the same under either.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from types import FrameType
from typing import Any, TypeVar

from triptych.errors import TrainingFault, UserError, say

RANK, WORLD, LOCAL, LOCAL_WORLD, MEETING = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TRIPTYCH_MEETING",
)  # fmt: skip
LAUNCH = "TRIPTYCH_LAUNCH"
"""Names a job for the processes that are started for it again after a failure."""
ATTEMPT = "TRIPTYCH_ATTEMPT"
"""Names each time that they are started, where they share a store with earlier times."""
CORES = "TRIPTYCH_CORES"
"""How many cores a process has to itself, where its launcher gives each its own."""

FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Exit codes by which a process says by itself that its job is over; the others end by themselves, too.
ORDERLY = (UserError.exit_code, TrainingFault.exit_code, 130, 143)
LOST = 75
"""Exit code of a process that ends because another was lost (`triptych.parallel.watch`): EX_TEMPFAIL, try again."""
GRACE, SHORT_GRACE = 10.0, 2.0
"""Seconds that the others have to end by themselves after one has: where they were told to stop and may be saving, and
where it told of an error, which all of them raise at once or which leaves them waiting for it.
"""

Fault = TypeVar("Fault", bound=Exception)


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get(WORLD, "1")) > 1


def shared(error: Fault) -> Fault:
    """`error`, marked as one that every process of the job raises, so that one of them tells it."""
    error.add_note(_SHARED)
    return error


def is_shared(error: Exception) -> bool:
    """Whether every process of the job raises `error`."""
    return _SHARED in getattr(error, "__notes__", ())


_SHARED = "raised in all processes of the job"


def launch(body: Callable[[Any], int], argument: Any, processes: int, restarts: int = 0) -> int:
    """Runs `body(argument)` in so many new processes; the first exit code that is not 0, 0 where all ended well.

    When one fails, the others are ended: by themselves where it told its error, else at once, and which one it was is
    told. Signals that ask a job to stop (SIGTERM, SIGUSR1, Ctrl-C) go to each process once, and what they do is
    waited for. No process outlives this one.

    Args:
        body: a function of a module, for new processes find it by its name.
        argument: what can be pickled.
        processes: how many.
        restarts: how often all are started again after one was lost; what they had saved they find by `LAUNCH`.
    """
    name = f"{os.getpid()}-{time.time_ns()}"
    for left in range(restarts, -1, -1):
        code, lost = _once(body, argument, processes, name)
        if lost is None:
            return code
        if code == LOST and not left:
            return code  # `Watch` has told who was lost
        again = f"; starting again ({left} of {restarts} restarts left)" if left else ""
        say(f"error: {lost}; the other processes of the job were ended{again}")
        if not left:
            return code
    raise AssertionError("there is a last try")


def _once(body: Callable[[Any], int], argument: Any, processes: int, name: str) -> tuple[int, str | None]:
    """The exit code, and what is said of the process that was lost."""
    # What torch's own logger says of connections that end is of no use beside what the processes tell of each other.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # One process imports torch and the package, and all others are forked from it, before it has done anything else:
    # that takes the time and the memory of one import. It is not this one, which may have threads or a device already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["triptych.run"])
    with tempfile.TemporaryDirectory(prefix="triptych-") as meeting:
        crew = [
            context.Process(target=_child, args=(body, argument, rank, processes, meeting, name), name=f"rank {rank}")
            for rank in range(processes)
        ]
        with _forwarding(crew):
            try:
                for each in crew:
                    each.start()
                return _wait(crew)
            finally:
                for each in crew:
                    if each.pid is not None:
                        _end(each)


def _end(process: ForkServerProcess) -> None:
    """With whatever it started: a killed process leaves its loader's workers behind."""
    assert process.pid is not None
    if process.exitcode is None:
        process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _wait(crew: Sequence[ForkServerProcess]) -> tuple[int, str | None]:
    deadline: float | None = None
    while True:
        codes = [each.exitcode for each in crew]  # each looked at once: a process may end at any moment
        told = [code for code in codes if code in ORDERLY]
        for rank, code in enumerate(codes):
            if code == LOST and told:
                return told[0], None  # it missed the one that told its error
            if code and code not in ORDERLY:
                return _as_shell(code), f"rank {rank} (process {crew[rank].pid}) {_how(code)}"
        if deadline is None and told:
            quick = told[0] in (UserError.exit_code, TrainingFault.exit_code)
            deadline = time.monotonic() + (SHORT_GRACE if quick else GRACE)
        waiting = [each for each, code in zip(crew, codes, strict=True) if code is None]
        patience = None if deadline is None else deadline - time.monotonic()
        if not waiting or (patience is not None and patience <= 0):
            return next((code for code in codes if code), 0), None
        multiprocessing.connection.wait([each.sentinel for each in waiting], patience)


def _as_shell(code: int) -> int:
    return 128 - code if code < 0 else code


def _how(code: int) -> str:
    if code > 0:
        return f"failed with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = " (the system does so when memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


@contextmanager
def _forwarding(crew: Sequence[ForkServerProcess]) -> Iterator[None]:
    """Passes signals on to each process of the crew; only in a main thread, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, frame: FrameType | None) -> None:
        for each in crew:
            if each.pid is not None and each.exitcode is None:
                os.kill(each.pid, number)

    former = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _child(body: Callable[[Any], int], argument: Any, rank: int, processes: int, meeting: str, name: str) -> None:
    os.environ |= {RANK: str(rank), LOCAL: str(rank), WORLD: str(processes), LOCAL_WORLD: str(processes)}
    os.environ |= {MEETING: meeting, LAUNCH: name}
    os.setpgid(0, 0)  # a terminal's Ctrl-C comes once, from the parent
    threading.Thread(target=_die_with_parent, daemon=True).start()
    code = told(lambda: body(argument), rank)
    sys.stdout.flush()
    sys.stderr.flush()
    for worker in multiprocessing.active_children():
        worker.kill()
    # Without the interpreter's tidying up, which waits for threads that may hang in a lost peer.
    os._exit(code)


def told(work: Callable[[], int], rank: int) -> int:
    """The exit code of `work`; what a user did wrong is printed, once for all processes."""
    try:
        return work()
    except (UserError, TrainingFault) as error:
        if rank == 0 or not is_shared(error):
            say(f"error: {error}" if rank == 0 else f"error: rank {rank}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def _die_with_parent() -> None:
    """Ends this process and those that it started as soon as its parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
