"""A training to be killed: `python -m tests.train.killed RUN` takes it up and prints the hash at its end."""

import sys
import time

from pellucid.train.callbacks import Callback
from tests.train.small import digits, flip, small_conv

EPOCHS = 12


class Slow(Callback):
    """Makes an epoch long enough to be killed in, with checkpoints in between."""

    def on_step(self, training):
        time.sleep(0.003)


class Say(Callback):
    """Tells that training has begun."""

    def on_start(self, training):
        print("training", flush=True)


def train(run, extra=()):
    model = small_conv()
    model.fit(
        digits(), epochs=EPOCHS, batch_size=20, validation=digits(300, 350), augment=flip, callbacks=[*extra, Slow()],
        run=run, resume=True, checkpoint_seconds=0.01, verbose=False,
    )  # fmt: skip
    return model.sha256()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(train(sys.argv[1], [Say()]))
