"""Multiply-adds of objectives, counted by hand."""

from pellucid.combine import Sequential
from pellucid.layers import Conv2d, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.network.work import network_work, objective_work
from tests.detectors.drawn import small_single_stage


def test_an_objective_of_one_network_has_the_work_of_the_network() -> None:
    model = Model(Sequential(conv=Conv2d(4, 3, padding=1), relu=ReLU()), SoftmaxCrossEntropy(), input_shape=(2, 5, 6))
    outputs = 4 * 5 * 6
    assert network_work(model.net, model.params, (2, 5, 6)) == outputs * 2 * 9 + 2 * outputs
    assert objective_work(model.objective, model.params, (2, 5, 6)) == outputs * 2 * 9 + 2 * outputs


def test_the_convolutions_of_a_detector_are_counted() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), metrics=())
    outputs_at_stride_2, outputs_at_stride_4 = 8 * 16 * 16, 8 * 8 * 8  # output values of each convolution
    convolution_work = outputs_at_stride_2 * (3 + 8) * 9 + outputs_at_stride_4 * (8 + 8) * 9
    work_at_32, work_at_64 = (objective_work(model.objective, model.params, (3, size, size)) for size in (32, 64))
    assert convolution_work < work_at_32 < 2 * convolution_work
    assert 3.5 < work_at_64 / work_at_32 < 4.5
