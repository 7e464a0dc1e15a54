"""An objective of one's own reads the options of its layers, which are replaced by other forms in training."""

from dataclasses import dataclass

import pellucid
from pellucid import SGD, Conv2d, Flatten, Layer, Mode, Model, Objective, Sequential
from tests.training.small import digits


@dataclass(frozen=True)
class ReadsOptions(Objective):
    """An objective that reads an option of a layer of its network."""

    net: Layer

    def predict(self, params, images):
        return pellucid.forward(self.net, params["net"], images, Mode())[0]

    def gradients(self, params, batch, mode):
        filters = self.net.layers["conv"].filters
        y, cache = pellucid.forward(self.net, params["net"], batch.images, mode)
        _, dparams = pellucid.backward(self.net, params["net"], cache, 2 * y / y.numel())
        return {"size": (y**2).mean() * filters / 2}, {"net": dparams}


def test_an_objective_reads_the_options_of_its_layers_in_training():
    objective = ReadsOptions(Sequential(conv=Conv2d(2, 3), flatten=Flatten()))
    model = Model(objective, optimizer=SGD(0.1), input_shape=(1, 8, 8))
    losses = [row["train_loss"] for row in model.fit(digits(), epochs=2, verbose=False).rows]
    assert losses[1] < losses[0]
