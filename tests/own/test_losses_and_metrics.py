"""User-defined losses of one method and metrics; their errors are reported before the first step."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch
from sklearn import metrics as oracle

from pellucid import Callback, Conv2d, Dense, Flatten, Loss, Metric, Model, PellucidError, Sequential, Sigmoid
from pellucid.data import Batch
from pellucid.doctor.case import predictions
from pellucid.losses import LOSSES, SoftmaxCrossEntropy
from pellucid.metrics import METRICS
from pellucid.training.examples import examples
from tests.own.parts import Errors, OwnFocal
from tests.training.small import digits

REGRESSION_LOSSES = {"quadratic", "l1", "huber", "giou"}
LOSSES_WITHOUT_METRIC = {"heat_maps", "coordinates", "probability_cross_entropy"}


def make_model(loss="softmax_cross_entropy", **options):
    return Model(Sequential(flat=Flatten(), scores=Dense(10)), loss, **options)


@pytest.mark.parametrize("name", LOSSES)
def test_the_default_metrics_follow_from_the_loss(name):
    known = {**dict.fromkeys(REGRESSION_LOSSES, ("mae",)), **dict.fromkeys(LOSSES_WITHOUT_METRIC, ())}
    assert LOSSES[name].metrics == known.get(name, ("accuracy",))
    if name not in ("nll", "auxiliary_cross_entropy"):  # these need another network
        assert make_model(name).metrics == LOSSES[name].metrics


def test_a_regression_has_the_mean_absolute_error_in_its_history():
    x = torch.rand(60, 3)
    y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
    model = Model(Sequential(d=Dense(1)), "l1", seed=2)
    history = model.fit(x, y, epochs=3, batch_size=20, validation=(x[:20], y[:20]), verbose=False)
    assert "val_accuracy" not in history.last
    expected = oracle.mean_absolute_error(y[:20], model.predict(x[:20]))
    assert history.last["val_mae"] == pytest.approx(expected, rel=1e-5)


class OneLogit(Loss):
    """Binary cross-entropy of one logit, without a method `predict`."""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def compute(self, y, target):
        t = target.to(y.dtype).view_as(y)
        return torch.nn.functional.binary_cross_entropy_with_logits(y, t), (y.sigmoid() - t) / y.numel()


class OneProbability(OneLogit):
    def predict(self, y):
        return y.sigmoid()


class OneNumber(OneLogit):
    """Half the squared error of the output of a sigmoid layer."""

    def compute(self, y, target):
        error = y - target.to(y.dtype).view_as(y)
        return error.square().mean() / 2, error / y.numel()


@pytest.mark.parametrize(
    ("loss", "last_layers"), [(OneLogit(), ()), (OneProbability(), ()), (OneNumber(), (Sigmoid(),))]
)
def test_one_output_is_classified_at_logit_0_or_probability_one_half(loss, last_layers):
    """With threshold 0 for logits and 1/2 for probabilities, equal weights have equal accuracy, as in scikit-learn."""
    x = torch.linspace(-1, 1, 41)[:, None]
    y = (x[:, 0] > 0.3).long()
    model = Model(Sequential([Dense(1), *last_layers]), loss, input_shape=(1,))
    for weight in model.weights.values():
        weight.fill_(0.4)  # logit 0.4 x + 0.4: above 0 for x > -1, above 1/2 for x > 0.25
    evaluation = model.evaluate(x, y)
    predicted = (0.4 * x[:, 0] + 0.4 >= 0).long()
    assert evaluation["accuracy"] == pytest.approx(oracle.accuracy_score(y, predicted))
    assert evaluation["macro_f1"] == pytest.approx(oracle.f1_score(y, predicted, average="macro"))
    assert predictions(model, model.fitting(examples(x, y))).accuracy == pytest.approx(
        oracle.accuracy_score(y, predicted)
    )


def test_a_regression_loss_on_classes_reports_the_accuracy_too():
    model = make_model("quadratic", input_shape=(1, 8, 8))
    history = model.fit(digits(), epochs=1, batch_size=30, validation=digits(300, 350), verbose=False)
    predicted = model.predict(digits(300, 350).x).argmax(1)
    assert history.last["val_accuracy"] == pytest.approx(oracle.accuracy_score(digits(300, 350).y, predicted))
    assert "val_mae" in history.last
    regression = Model(Sequential(d=Dense(1)), "quadratic", input_shape=(3,))
    assert set(regression.evaluate(torch.rand(6, 3), torch.arange(6))) == {"loss", "mae", "n"}, "counts are not classes"
    assert set(make_model("quadratic", metrics="mae", input_shape=(1, 8, 8)).evaluate(digits())) == {"loss", "mae", "n"}


def test_ignored_examples_count_in_no_accuracy():
    model = make_model(SoftmaxCrossEntropy(ignore=3), input_shape=(1, 8, 8))
    is_counted = digits().y != 3
    expected = oracle.accuracy_score(digits().y[is_counted], model.predict(digits().x[is_counted]).argmax(1))
    assert predictions(model, model.fitting(examples(digits()))).accuracy == pytest.approx(expected)
    assert model.evaluate(digits())["accuracy"] == pytest.approx(expected)


def test_two_partial_functions_are_two_metrics():
    def f_beta(outputs, targets, beta):
        return oracle.fbeta_score(targets, outputs.argmax(1), beta=beta, average="macro")

    model = make_model(metrics=[partial(f_beta, beta=1), partial(f_beta, beta=2)], input_shape=(1, 8, 8))
    evaluation = model.evaluate(digits())
    predicted = model.predict(digits().x).argmax(1)
    for beta in (1, 2):
        expected = oracle.fbeta_score(digits().y, predicted, beta=beta, average="macro")
        assert evaluation[f"f_beta(beta={beta})"] == pytest.approx(expected)


def test_a_loss_needs_only_the_method_compute():
    assert Loss.__abstractmethods__ == {"compute"}
    model = make_model(OwnFocal())
    assert model.metrics == ("accuracy",)
    model.fit(digits(), epochs=2, batch_size=30, verbose=False)
    assert model.verify(digits().x[:4], digits().y[:4]).ok
    weight, bias = model.weights["scores.weight"], model.weights["scores.bias"]
    torch.testing.assert_close(model.predict(digits().x), digits().x.flatten(1) @ weight.T + bias)


@dataclass(frozen=True)
class WrongGradient(OwnFocal):
    def compute(self, y, target):
        value, dy = super().compute(y, target)
        return value, 1.01 * dy


def test_verify_finds_a_wrong_gradient_of_a_loss():
    model = make_model(WrongGradient(), input_shape=(1, 8, 8))
    assert not model.verify(digits().x[:4], digits().y[:4]).ok


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([0, 10, 1]), "the targets contain classes 0 to 10, but the network has outputs for 0 to 9"),
        (torch.tensor([0, -1, 1]), "the targets contain classes -1 to 1"),
        (torch.tensor([0.0, float("nan"), 1.0]), "targets must be finite"),
    ],
)
def test_invalid_targets_are_refused_without_a_check_of_the_loss(y, message):
    with pytest.raises(PellucidError, match=message):
        make_model(OwnFocal()).fit(torch.rand(3, 1, 8, 8), y, epochs=1, batch_size=3, verbose=False)


class FailOnStep(Callback):
    def on_step(self, training):
        raise AssertionError("a step was taken")


def loss_returning(answer):
    class Answers(Loss):
        def compute(self, y, target):
            return answer(y)

    return Answers()


WRONG_RESULTS = {
    r"Answers: compute must return \(value, dy\), not \(2, 10\) torch.float32": lambda y: y,
    r"Answers: the loss must be a tensor of one number, not \(2,\) torch.float32": lambda y: (y.mean(1), y),
    "Answers: the loss must be a tensor of one number, not 1.0": lambda y: (1.0, y),
    r"Answers: the gradient must be \(2, 10\) torch.float32 like the outputs, not \(10,\)": lambda y: (y.sum(), y[0]),
    r"Answers: the gradient must be .*, not \(2, 10\) torch.float64": lambda y: (y.sum(), y.double()),
}


@pytest.mark.parametrize("message", WRONG_RESULTS)
def test_wrong_return_values_of_compute_are_reported_before_the_first_step(message):
    with pytest.raises(PellucidError, match=message):
        make_model(loss_returning(WRONG_RESULTS[message])).fit(
            digits(), epochs=1, batch_size=300, callbacks=[FailOnStep()], verbose=False
        )


class FixedMetric(Metric):
    results: ClassVar = {}

    def update(self, outputs, targets):
        pass

    def compute(self):
        return type(self).results


def metric_returning(results):
    return type("Given", (FixedMetric,), {"results": results})()


def metric_function(name, value):
    def function(outputs, targets):
        return value

    function.__name__ = name
    return function


METRIC_MISTAKES = {
    "metric Errors: another result is called 'accuracy'": ["accuracy", Errors("accuracy")],
    "metric Errors: another result is called 'loss'": [Errors("loss")],
    "metric pair: 'pair' is tensor": [metric_function("pair", torch.zeros(2))],
    "metric text: 'text' is 'high'; return one number": [metric_function("text", "high")],
    "metric Given: compute returned 0.5; return {name: number}": [metric_returning(0.5)],
    "metric Given: 3 is 0.5": [metric_returning({3: 0.5})],
}


@pytest.mark.parametrize("message", METRIC_MISTAKES)
def test_errors_of_metrics_are_raised_before_the_first_step(message):
    model = make_model(metrics=METRIC_MISTAKES[message])
    with pytest.raises(PellucidError) as caught:
        model.fit(digits(), epochs=1, batch_size=30, callbacks=[FailOnStep()], verbose=False)
    assert message in str(caught.value)


def test_a_class_is_refused_as_metric():
    with pytest.raises(PellucidError, match=r"metrics: Errors is a class; give an object of it, Errors\(...\)"):
        make_model(metrics=[Errors])


def test_a_metric_function_receives_all_outputs_and_may_return_any_number():
    lengths = []

    def f_beta(outputs, targets):
        lengths.append(len(outputs))
        return oracle.fbeta_score(targets, outputs.argmax(1), beta=2, average="macro")

    model = make_model(
        metrics=[f_beta, metric_function("as_tensor", torch.tensor(2)), metric_function("whole", 3)],
        input_shape=(1, 8, 8),
    )
    evaluation = model.evaluate(digits(), batch_size=7)
    predicted = model.predict(digits().x).argmax(1)
    assert lengths == [300]
    assert evaluation["f_beta"] == pytest.approx(oracle.fbeta_score(digits().y, predicted, beta=2, average="macro"))
    assert (evaluation["as_tensor"], evaluation["whole"]) == (2.0, 3.0)


def test_a_metric_function_receives_lists_if_images_differ_in_size():
    class Growing:
        """A source of images of 8 x 8 and 10 x 10 pixels with masks."""

        classes, checksum = None, "growing"

        def __len__(self):
            return 4

        def batch(self, indices, rng):
            side = 8 + 2 * (indices[0] % 2)
            masks = torch.full((len(indices), side, side), indices[0] % 3)
            return Batch(torch.rand(len(indices), 1, side, side, generator=rng), masks)

    def share(outputs, targets):
        sides = [(one.shape[-1], two.shape[-1]) for one, two in zip(outputs, targets, strict=True)]
        assert sides == [(8, 8), (10, 10)] * 2
        right = [(one.argmax(0) == two).double().mean() for one, two in zip(outputs, targets, strict=True)]
        return sum(right) / len(right)

    model = Model(Sequential(Conv2d(3, 1)), metrics=[share], input_shape=(1, None, None))
    predicted = model.predict(Growing(), batch_size=1)
    masks = [torch.full(one.shape[1:], k % 3) for k, one in enumerate(predicted)]
    expected = [float((one.argmax(0) == mask).double().mean()) for one, mask in zip(predicted, masks, strict=True)]
    assert model.evaluate(Growing(), batch_size=1)["share"] == pytest.approx(sum(expected) / 4)


def test_confusion_is_in_evaluations_and_in_no_column():
    model = make_model(metrics=["confusion", "precision", "ece"])
    history = model.fit(digits(), epochs=1, batch_size=30, validation=digits(300, 350), verbose=False)
    assert {"val_precision", "train_ece"} <= set(history.last)
    assert not [name for name in history.last if "confusion" in name]
    predicted = model.predict(digits(300, 350).x).argmax(1)
    expected = oracle.confusion_matrix(digits(300, 350).y, predicted, labels=range(10)).tolist()
    assert model.evaluate(digits(300, 350))["confusion"] == expected


def test_values_that_are_not_finite_are_missing_in_the_history(tmp_path):
    history = make_model(metrics=[metric_returning({"never": float("nan"), "ever": 1.0})])
    rows = history.fit(digits(), epochs=1, batch_size=30, verbose=False).rows
    assert (rows[0]["train_never"], rows[0]["train_ever"]) == (None, 1.0)


def test_every_metric_of_pellucid_is_saved_and_loaded(tmp_path):
    image_metrics = ("miou", "boundary_f1", "ap", "mask_ap", "keypoint_ap", "nme", "psnr", "ssim", "colours", "delta_e")
    row_metrics = [name for name in METRICS if name not in image_metrics]
    model = make_model(metrics=row_metrics, input_shape=(1, 8, 8))
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    assert loaded.metrics == tuple(row_metrics)
    assert loaded.evaluate(digits()) == model.evaluate(digits())
