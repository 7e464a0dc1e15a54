"""A training of the user's own parts, to be killed: `python -m tests.own.killed RUN` prints the hash at its end."""

import sys

import pellucid
from tests.own import parts
from tests.train.killed import Say, Slow
from tests.train.small import digits


def train(run, extra=()):
    pellucid.register(*parts.PARTS)
    model = parts.model()
    model.fit(
        digits(), epochs=8, batch_size=20, validation=digits(300, 350), callbacks=[parts.Average(), *extra, Slow()],
        run=run, resume=True, monitor="val_errors", checkpoint_seconds=0.01, verbose=False,
    )  # fmt: skip
    return model.sha256()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(train(sys.argv[1], [Say()]))
