"""Sequential.add appends layers one by one, as in Keras."""

import pytest
import torch

from pellucid import Dense, Model, PellucidError, ReLU, Sequential


def test_added_layers_have_the_names_and_weights_of_layers_in_the_constructor() -> None:
    net, expected = Sequential(), Sequential(Dense(5), ReLU(), Dense(2))
    for layer in (Dense(5), ReLU(), Dense(2)):
        net.add(layer)
    assert list(net.layers) == ["dense1", "relu1", "dense2"]
    assert net == expected
    model, expected_model = (Model(network, input_shape=(3,)) for network in (net, expected))
    assert torch.equal(model(torch.ones(1, 3)), expected_model(torch.ones(1, 3)))


def test_an_added_layer_gets_an_unused_name() -> None:
    net = Sequential(dense1=Dense(5))
    net.add(Dense(2))
    assert list(net.layers) == ["dense1", "dense2"]


def test_no_layer_is_added_to_a_network_with_weights() -> None:
    net = Sequential(Dense(5))
    Model(net, input_shape=(3,))
    with pytest.raises(PellucidError, match="weights have been drawn"):
        net.add(Dense(2))
    wider = Sequential(**net.layers, dense2=Dense(2))
    assert Model(wider, input_shape=(3,)).output_shape == (2,)


@pytest.mark.parametrize("given", [Dense, "relu", 3])
def test_only_layers_are_added(given: object) -> None:
    with pytest.raises(PellucidError, match=r"Sequential\.add: the layer is"):
        Sequential().add(given)
