"""A training of a user's own parts, to be killed: `python -m tests.own.killed RUN COUNT` prints the hash at its end."""

import pellucid
from tests.own import parts
from tests.training.killed import main
from tests.training.small import digits


def train(run, extra=()):
    pellucid.register(*parts.PARTS)
    model = parts.model()
    model.fit(
        digits(), epochs=8, batch_size=20, validation=digits(300, 350), callbacks=[parts.Average(), *extra],
        run=run, resume=True, monitor="val_errors", checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()


if __name__ == "__main__":
    main(train)
