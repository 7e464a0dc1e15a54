"""`Model.verify` of an objective compares the gradients within its networks and those computed by the objective."""

from dataclasses import dataclass

from pellucid import Dense, Flatten, LeakyReLU, Model, Sequential
from pellucid.losses import SoftmaxCrossEntropy
from tests.own.two_networks import Distill, distill, gan_model
from tests.training.small import digits


def test_verify_compares_the_gradients_within_each_network():
    test = digits(0, 4)
    verification = Model(distill(), input_shape=(1, 8, 8)).verify(test.x, test.y)
    assert verification.ok
    paths = [(row.path, row.what) for row in verification.rows]
    assert paths.count(("student.scores", "weight")) == paths.count(("teacher.hidden", "weight")) == 1
    assert paths.count(("student", "dparams")) == paths.count(("teacher", "dparams")) == 1
    verification = gan_model(input_shape=(1, 8, 8)).verify(
        test.x, test.y
    )  # the discriminator for real and generated images, and for generated images only
    assert verification.ok
    paths = [(row.path, row.what) for row in verification.rows]
    assert paths.count(("discriminator.hidden", "weight")) == 2
    assert paths.count(("generator.hidden", "weight")) == 1


def test_verify_names_the_network_that_receives_no_gradient():
    @dataclass(frozen=True)
    class StudentOnly(Distill):
        def gradients(self, params, batch, mode):
            y, cache = self.student.forward(params["student"], batch.images, mode)
            value, dy = SoftmaxCrossEntropy()(y, batch.targets)
            return {"hard": value}, {"student": self.student.backward(params["student"], cache, dy)[1]}

    test, objective = digits(0, 4), distill()
    verification = Model(StudentOnly(objective.student, objective.teacher), input_shape=(1, 8, 8)).verify(
        test.x, test.y
    )
    assert verification.ok
    assert "not compared: teacher, which receives no gradient" in str(verification)


def test_verify_names_a_wrong_layer_of_an_objective():
    @dataclass(frozen=True)
    class Steep(LeakyReLU):
        def backward(self, params, cache, dy):
            dx, dparams = super().backward(params, cache, dy)
            return 1.001 * dx, dparams

    test = digits(0, 4)
    wrong = Sequential(flat=Flatten(), hidden=Dense(16), steep=Steep(), scores=Dense(10))
    verification = Model(Distill(wrong, distill().teacher), input_shape=(1, 8, 8)).verify(test.x, test.y)
    assert not verification.ok
    assert verification.culprit == "student.steep (Steep, dx)"
