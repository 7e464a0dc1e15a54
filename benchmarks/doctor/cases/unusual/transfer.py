"""Mistakes in transfer learning, and in layers written by hand."""

from collections.abc import Mapping

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.parts import HandMadeReLU
from benchmarks.doctor.cases.unusual.sound import classifier
from benchmarks.doctor.cases.unusual.transferred import scaled, transfer
from benchmarks.doctor.fit import Case, Pair
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.optim import Adam

MEASURE = "accuracy"


def other_preprocessing(seed: int) -> Pair:
    """Give features that were learned from pixels of 0 to 1 pixels of -127 to 128."""
    sound, parts = transfer(seed)
    train, validation, test = (scaled(part, 255.0, -127.0) for part in parts)
    wrong = sound.but(train=train, validation=validation, score=scores.accuracy(test))
    return Pair(wrong, sound, MEASURE)


def new_layers_frozen(seed: int) -> Pair:
    """Freeze a new, narrow layer with the pretrained features before it."""
    usual, _ = transfer(seed)

    def begin(pattern: str) -> Model:
        old = usual.begin()
        net = old.net
        assert isinstance(net, Sequential)
        features = Sequential(**net.layers["features"].layers, neck=Conv2d(4, 3, stride=2, padding=1), act=ReLU())  # type: ignore[attr-defined]
        head = Sequential(flatten=Flatten(), dense=Dense(32), relu=ReLU(), scores=Dense(5))
        model = Model(
            Sequential(features=features, head=head), optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8),
            classes=old.classes,
        )  # fmt: skip
        for path, tensor in model.weights.items():
            if path.startswith(("features.one", "features.two")):
                tensor.copy_(old.weights[path])
        model.freeze(*pattern.split())
        return model

    sound = usual.but(begin=lambda: begin("features.one.* features.two.*"), epochs=60)
    return Pair(sound.but(begin=lambda: begin("features.*")), sound, MEASURE)


def wrong_backward(seed: int) -> Pair:
    """Let through in the backward pass of a ReLU what it should stop."""

    def net(inverted: bool) -> Sequential:
        hidden = {f"dense{k}": layer for k, layer in enumerate((Dense(48), Dense(48), Dense(48)))}
        layers = {"flatten": Flatten()}
        for k, layer in enumerate(hidden.values()):
            layers |= {f"dense{k}": layer, f"act{k}": HandMadeReLU(inverted)}
        return Sequential(**layers, out=Dense(10))

    wrong, _ = classifier(seed, net=net(True))
    sound, _ = classifier(seed, net=net(False))
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "trf-other-preprocessing": other_preprocessing,
    "trf-new-layers-frozen": new_layers_frozen,
    "own-backward": wrong_backward,
}
