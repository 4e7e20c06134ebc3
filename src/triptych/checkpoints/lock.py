"""One run at a time in one checkpoints folder."""

import fcntl
import os
import socket
import weakref
from pathlib import Path
from types import TracebackType

from triptych.checkpoints.files import make_folder
from triptych.errors import UserError

LOCK = ".lock"


class RunLock:
    """Holds `folder/.lock` for as long as the block runs; the kernel frees it when the process dies, however it dies.

    Taken by one process of a run (rank zero). The file stays: removing it would let a third process lock a name that
    is gone.

    Raises:
        UserError: another process holds it; the message says which.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LOCK
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        make_folder(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown process"
            os.close(descriptor)
            raise UserError(
                f"{self.path.parent} is in use by another run ({holder}); "
                "wait for it to end, or start in a directory of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._descriptor = descriptor
        _held.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)


_held: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _close_inherited() -> None:
    # A forked loader worker shares the lock's open file; one that outlives a killed run would keep it locked.
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_close_inherited)
