"""Steps of lessons, computed in threads of their own, so that long ones keep no tab from other answers."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from pellucid.base.errors import PellucidError
from pellucid.studio.messages import Reply

MAX_KEPT = 100  # results, of about 50 kB each
AT_ONCE = 2  # steps that are computed at the same time


class StepRuns:
    """The latest results of steps, and those that are being computed."""

    def __init__(self) -> None:
        self._futures = OrderedDict[Hashable, Future[Reply]]()
        self._lock = threading.Lock()
        self._places = threading.Semaphore(AT_ONCE)

    def get(self, key: Hashable, compute: Callable[[], Reply]) -> Future[Reply]:
        """Return the result of `compute` for a key, which may be that of an earlier call with the key.

        A result that nobody waits for any longer may be cancelled; the next call computes it anew.
        """
        with self._lock:
            future = self._futures.pop(key, None)
            if future is None or future.cancelled() or (future.done() and future.exception() is not None):
                future = Future[Reply]()
                threading.Thread(target=self._fill, args=(future, compute)).start()
            self._futures[key] = future
            if len(self._futures) > MAX_KEPT:
                self._futures.popitem(last=False)
        return future

    def _fill(self, future: Future[Reply], compute: Callable[[], Reply]) -> None:
        with self._places:
            # When the server ends, Python waits for the steps that have begun, since it may crash otherwise.
            is_ending = not threading.main_thread().is_alive()
            if is_ending or not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(compute())
            except PellucidError as error:
                future.set_exception(error)
            except Exception as error:  # of a value between those that were tried
                future.set_exception(PellucidError(f"the step fails for these values: {type(error).__name__}: {error}"))
