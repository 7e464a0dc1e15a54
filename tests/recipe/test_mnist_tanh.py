"""`mnist-tanh-1000` compared with its published training errors: 0.2327 after epoch 1, 0.0101 after epoch 35."""

import pytest
import torch

from pellucid.data import data_root
from pellucid.recipe.build import build_model
from pellucid.recipe.material import load_material
from pellucid.recipe.recipe import load_recipe

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (data_root() / "mnist").is_dir(), reason="MNIST is not on this machine"),
]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("initial_weights", "first_bounds", "last_bounds"),
    [
        ("uniform", (0.2, 0.27), (0.007, 0.014)),  # from -0.5 to 0.5 as in the source: about its errors
        ("recipe", (0.0, 0.2327), (0.0, 0.0101)),  # smaller weights, which do not saturate tanh: no larger errors
    ],
)
def test_training_errors_reproduce_or_improve_the_published_ones(
    initial_weights: str, first_bounds: tuple[float, float], last_bounds: tuple[float, float]
) -> None:
    recipe = load_recipe("mnist-tanh-1000")
    material = load_material(recipe.data, 0)
    model = build_model(recipe, material.train)
    if initial_weights == "uniform":
        rng = torch.Generator().manual_seed(0)
        for tensor in model.weights.values():
            tensor.copy_(torch.rand(tensor.shape, generator=rng) - 0.5)
    history = model.fit(material.train, epochs=recipe.train.epochs, batch_size=recipe.train.batch_size, verbose=False)
    errors = [2 * loss for loss in history["train_loss"]]  # the loss is half the mean squared error
    assert len(errors) == 35
    assert first_bounds[0] < errors[0] < first_bounds[1]
    assert last_bounds[0] < errors[-1] < last_bounds[1]
