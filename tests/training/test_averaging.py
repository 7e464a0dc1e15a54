"""The moving average of the weights: used in evaluation, saved in files, and kept in the trained model."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.optim import SGD
from pellucid.training.callbacks import Callback
from tests.training.small import StopAt, Stopped, digits, flip, small_conv

WEIGHT = "conv.weight"


class WeightRecorder(Callback):
    """Records a weight after each step, and as it is used in the evaluation of each epoch."""

    def __init__(self):
        self.weights_by_step, self.weights_by_epoch = [], []

    def on_start(self, training):
        self.initial_weight = flatten(training.model.params)[WEIGHT].double()

    def on_step(self, training):
        self.weights_by_step.append(flatten(training.model.params)[WEIGHT].double())

    def on_epoch_end(self, training, row):
        self.weights_by_epoch.append(flatten(training.model.params)[WEIGHT].double())


def train(model, run=None, callbacks=(), **options):
    settings = {"validation": digits(90, 120), "augment": flip, "monitor": "", "verbose": False, **options}
    return model.fit(digits(0, 90), epochs=3, batch_size=30, run=run, callbacks=callbacks, **settings)


def test_epochs_are_evaluated_with_averages_and_training_continues_from_the_current_weights():
    recorder, plain_recorder, model = WeightRecorder(), WeightRecorder(), small_conv(average=0.3)
    history, plain_history = train(model, callbacks=[recorder]), train(small_conv(), callbacks=[plain_recorder])
    assert all(map(torch.equal, recorder.weights_by_step, plain_recorder.weights_by_step))
    average, expected = recorder.initial_weight, []
    for number, weight in enumerate(recorder.weights_by_step, 1):
        decay = min(0.3, (1 + number) / (10 + number))  # 2/11, 3/12, 0.3, ...
        average = decay * average + (1 - decay) * weight
        expected.append(average)
    for actual, number in zip(recorder.weights_by_epoch, (3, 6, 9), strict=True):
        assert torch.allclose(actual, expected[number - 1], atol=1e-6)
    assert history["val_loss"] != plain_history["val_loss"]
    assert torch.equal(model.weights[WEIGHT].double(), recorder.weights_by_epoch[-1])
    assert model.evaluate(digits(90, 120))["loss"] == pytest.approx(history["val_loss"][-1])


@pytest.mark.parametrize("step", [2, 3, 8])
def test_a_resumed_training_has_the_same_average(tmp_path, step):
    uninterrupted, resumed = small_conv(average=0.9), small_conv(average=0.9)
    train(uninterrupted, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(small_conv(average=0.9), tmp_path / "run", [StopAt(step)], checkpoint_seconds=0.0)
    train(resumed, tmp_path / "run", resume=True)
    assert resumed.sha256() == uninterrupted.sha256() == Model.load(tmp_path / "run/weights/best.safetensors").sha256()
    resumed_again = small_conv(average=0.9)
    train(resumed_again, tmp_path / "run", resume=True)  # the run is finished, so no weight changes
    assert resumed_again.sha256() == uninterrupted.sha256()
    for average in (0.8, None):
        with pytest.raises(PellucidError, match="begun with other settings: average of the weights"):
            train(small_conv(average=average), tmp_path / "run", resume=True)


@pytest.mark.parametrize("step", [2, 8])
def test_the_mean_with_the_initial_weights_is_used_and_resumed(tmp_path, step):
    recorder, plain_recorder, model = WeightRecorder(), WeightRecorder(), small_conv(average="start")
    train(model, tmp_path / "whole", callbacks=[recorder])
    train(small_conv(), callbacks=[plain_recorder])
    assert all(map(torch.equal, recorder.weights_by_step, plain_recorder.weights_by_step))
    for actual, number in zip(recorder.weights_by_epoch, (3, 6, 9), strict=True):
        expected = (recorder.initial_weight + recorder.weights_by_step[number - 1]) / 2
        assert torch.allclose(actual, expected, atol=1e-6)
    assert torch.equal(model.weights[WEIGHT].double(), recorder.weights_by_epoch[-1])
    with pytest.raises(Stopped):
        train(small_conv(average="start"), tmp_path / "run", [StopAt(step)], checkpoint_seconds=0.0)
    resumed = small_conv(average="start")
    train(resumed, tmp_path / "run", resume=True)
    assert resumed.sha256() == model.sha256() == Model.load(tmp_path / "run/weights/best.safetensors").sha256()


def test_layers_updated_in_the_backward_pass_are_averaged():
    model = Model(small_conv().net, optimizer=SGD(0.1), average=0.5)
    recorder = WeightRecorder()
    train(model, callbacks=[recorder])
    assert not torch.equal(recorder.weights_by_epoch[-1], recorder.weights_by_step[-1])


@pytest.mark.parametrize("average", [0.0, 1.0, "much"])
def test_averages_outside_of_0_to_1_are_refused(average):
    with pytest.raises(PellucidError, match=r"average must be a number between 0 and 1, such as 0\.998, 'start' or N"):
        small_conv(average=average)
