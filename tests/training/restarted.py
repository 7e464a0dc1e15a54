"""A training in two processes, of which the second fails in its first attempt: run by torchrun, which restarts both.

`torchrun --max-restarts 1 ... -m tests.training.restarted RUN FAULT`, with the fault "raised", "hung" or "SIGKILL".
"""

import os
import sys

from pellucid.data import loader
from pellucid.training import loop
from pellucid.training.distributed import processes
from tests.training.sharded_faults import FaultyAugmentation, timeout_seconds
from tests.training.small import digits, small_conv

STEPS = 30
FAULT = FaultyAugmentation("", 20)  # after checkpoints, although batches are prepared in advance


def augment(images, rng):
    return FAULT(images, rng)


def train(run, **options):
    model = small_conv()
    model.fit(
        digits(), epochs=3, batch_size=30, augment=augment, run=run, resume=True, checkpoint_seconds=0.0,
        verbose=False, **options,
    )  # fmt: skip
    return model.sha256()


if __name__ == "__main__":
    loader.WORKERS = 1  # thread, which prepares the batches in their order
    loop.TICK = 0.0  # save a checkpoint after every step
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        FAULT.fault = sys.argv[2]
    with processes().answering_within(timeout_seconds(FAULT.fault)):
        weights_hash = train(sys.argv[1])
    if processes().is_first:
        print(weights_hash, FAULT.calls)
