"""A training with user-defined classes that tests kill; see tests.training.killed."""

import pellucid
from tests.own import parts
from tests.training.small import digits


def train(run, extra=()):
    pellucid.register(*parts.PARTS)
    model = parts.model()
    model.fit(
        digits(), epochs=8, batch_size=20, validation=digits(300, 350), callbacks=[parts.WeightAverage(), *extra],
        run=run, resume=True, monitor="val_errors", checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()
