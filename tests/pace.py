"""Time limits that do not depend on the machine: multiples of what a plain loop takes on it."""

import time

N_LOOPS = 1_000_000


def in_loop_durations(seconds: float) -> float:
    """Return a duration as a multiple of the processor time that a million empty loops take, here and now.

    What allocates much memory takes up to three times as long where the machine must make room for it first, so limits
    are several times what a calm machine takes.
    """
    fastest = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(N_LOOPS):
            pass
        fastest = min(fastest, time.process_time() - start)
    return seconds / fastest
