"""The evolution of feature maps, computed from the weights of several epochs."""

from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain.page import evolution_figure, means_figure
from pellucid.explain.top_patches import epoch_weights, evolution
from pellucid.layers import Conv2d, Dense, Flatten, Mode, ReLU
from pellucid.model import Model
from pellucid.training.callbacks import Snapshots
from tests.references import reference_forward
from tests.training.small import digits

NET = Sequential(conv=Conv2d(5, 3), relu=ReLU(), flat=Flatten(), scores=Dense(10))


def trained_model(run: Path) -> Model:
    images = digits(0, 60)
    model = Model(NET, input_shape=tuple(images.x.shape[1:]), classes=images.classes)
    model.fit(
        images, epochs=3, batch_size=20, callbacks=[Snapshots(run / "weights", (0, 1, 3))], run=run, verbose=False
    )
    return model


def test_weights_of_the_requested_epochs_are_kept(tmp_path: Path) -> None:
    model = trained_model(tmp_path)
    weights = epoch_weights(model, tmp_path)
    assert list(weights) == [0, 1, 3]
    assert torch.equal(weights[3]["conv"]["weight"], model.params["conv"]["weight"])
    untrained = Model(NET, input_shape=model.input_shape, classes=model.classes)
    assert torch.equal(weights[0]["conv"]["weight"], untrained.params["conv"]["weight"])
    assert not torch.equal(weights[1]["conv"]["weight"], weights[3]["conv"]["weight"])


def test_means_and_strongest_activations_are_those_of_each_epoch(tmp_path: Path) -> None:
    model = trained_model(tmp_path)
    weights = epoch_weights(model, tmp_path)
    images = digits(60, 90).x
    (result,) = evolution(NET, weights, images, ["relu"], lambda x: x, maps=2)
    conv_and_relu = Sequential(conv=NET.layers["conv"], relu=NET.layers["relu"])
    for k, params in enumerate(weights.values()):
        y = reference_forward(conv_and_relu, params, images, Mode())
        assert torch.allclose(result.means[k].float(), y.mean((0, 2, 3)), atol=1e-6)
        for map_index, row in zip(result.maps, result.strongest, strict=True):
            assert torch.allclose(row[k].value, y[:, map_index].max(), atol=1e-6)
            assert row[k].map == map_index
    assert set(result.maps) == set(result.means[-1].topk(2).indices.tolist())
    assert len(evolution_figure(result).axes) == 2 * 3
    assert len(means_figure(result).axes[0].lines) >= 3


def test_missing_epochs_and_other_networks_are_reported(tmp_path: Path) -> None:
    model = trained_model(tmp_path)
    with pytest.raises(PellucidError, match=r"train\.keep"):
        evolution(NET, {}, torch.zeros(1, 1, 8, 8), ["relu"], lambda x: x)
    other = Model(Sequential(flat=Flatten(), scores=Dense(10)), input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match="another network"):
        epoch_weights(other, tmp_path)
    assert epoch_weights(model, tmp_path / "nothing") == {}
