"""Multiply-adds of objectives, counted by hand."""

from pellucid.combine import Sequential
from pellucid.layers import Conv2d, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.network.work import network_work, objective_work
from tests.detectors.drawn import small_single_stage


def test_an_objective_of_one_network_costs_what_the_network_does() -> None:
    model = Model(Sequential(conv=Conv2d(4, 3, padding=1), relu=ReLU()), SoftmaxCrossEntropy(), input_shape=(2, 5, 6))
    outputs = 4 * 5 * 6
    assert network_work(model.net, model.params, (2, 5, 6)) == outputs * 2 * 9 + 2 * outputs
    assert objective_work(model.objective, model.params, (2, 5, 6)) == outputs * 2 * 9 + 2 * outputs


def test_the_convolutions_of_a_detector_are_counted() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), metrics=())
    first, second = 8 * 16 * 16, 8 * 8 * 8  # outputs of each convolution at the strides 2 and 4
    rows = first * (3 + 8) * 9 + second * (8 + 8) * 9
    small, large = (objective_work(model.objective, model.params, (3, size, size)) for size in (32, 64))
    assert rows < small < 2 * rows
    assert 3.5 < large / small < 4.5
