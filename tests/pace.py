"""Durations relative to the speed of the machine, for time limits in tests."""

import time

N_LOOPS = 1_000_000


def in_loop_durations(seconds: float) -> float:
    """Return a duration as a multiple of the processor time of a million empty loops, measured at the call.

    Limits must be several times the usual duration, since code that allocates much memory takes up to three times as
    long if the machine is short of memory.
    """
    fastest = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(N_LOOPS):
            pass
        fastest = min(fastest, time.process_time() - start)
    return seconds / fastest
