"""Work that goes on beside training, one piece after the other."""

import threading
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]


class Background:
    """Does pieces of work in the order in which they were given, in a thread of its own.

    When one fails, those after it are dropped, and the next `wait` or `check` raises what it raised: a save that failed
    is not published, and does not pass in silence.

    Args:
        threaded: False does each piece at once instead, in the thread that gives it.
    """

    def __init__(self, threaded: bool = False) -> None:
        self.threaded = threaded
        self._work: deque[Work] = deque()
        self._changed = threading.Condition()
        self._running = False
        self._failure: BaseException | None = None

    def then(self, work: Work) -> None:
        """Adds a piece of work, to be done after those before it."""
        if not self.threaded:
            work()
            return
        with self._changed:
            self._work.append(work)
            if not self._running:
                self._running = True
                # No daemon: a process that ends by itself finishes its save first.
                threading.Thread(target=self._run, name="checkpoint").start()

    def check(self) -> None:
        """Raises what the work so far has raised; does not wait."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def wait(self) -> None:
        """Until all is done; then as `check`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
        self.check()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._work:
                    self._running = False
                    self._changed.notify_all()
                    return
                work = self._work.popleft()
            try:
                if self._failure is None:
                    work()
            except BaseException as error:
                self._failure = error
