"""CamVid: the training of the recipe, compared with the same training by PyTorch's autograd and optimizer."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from pellucid.combine.base import map_layers
from pellucid.data import data_root
from pellucid.data.loader import Loader
from pellucid.layers import Dropout, Identity, Mode
from pellucid.nested import flatten, map_tree
from pellucid.objective import Supervised
from pellucid.optim import Progress
from pellucid.recipe.build import build_model
from pellucid.recipe.material import load_material
from pellucid.recipe.recipe import load_recipe
from pellucid.training.step import TrainingStep
from tests.references import reference_forward

N_STEPS = 20

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (data_root() / "camvid").is_dir(), reason="CamVid is not on this machine"),
]


@pytest.mark.long
def test_losses_of_20_steps_equal_those_of_plain_pytorch() -> None:
    recipe = load_recipe("camvid-fcn8")
    material = load_material(recipe.data, 0)
    model = build_model(recipe, material.train)
    net = map_layers(model.net, lambda layer: Identity() if isinstance(layer, Dropout) else layer)  # no draws
    model.params = map_tree(torch.Tensor.double, model.params)  # in float32, Adam's first steps amplify rounding
    params = map_tree(torch.clone, model.params)
    weights = flatten(params)
    trained_paths = [path for path in weights if path not in model.frozen and "running" not in path]
    for path in trained_paths:
        weights[path].requires_grad_()
    lr = model.optimizer.lr
    groups = [{"params": [weights[path]], "rate": model.rates.get(path, 1.0)} for path in trained_paths]
    without_decay = ("bias", "norm.weight")
    for group, path in zip(groups, trained_paths, strict=True):
        group["weight_decay"] = 0.0 if path.endswith(without_decay) else model.optimizer.weight_decay
    optimizer = torch.optim.AdamW(groups, lr)
    step = TrainingStep(
        Supervised(net, model.loss), model.params, model.optimizer, examples=len(material.train),
        frozen=model.frozen, rates=model.rates,
    )  # fmt: skip
    crops = replace(recipe.augment, crop_size=(90, 118))  # as the images, no multiples of 32; a quarter of the work
    loader = Loader(material.train, recipe.train.batch_size, 0, crops, transform=model.stats.apply)
    steps, losses = len(loader) * recipe.train.epochs, []
    class_weights = torch.tensor(model.loss.class_weights, dtype=torch.float64)
    for epoch in range(2):
        for float32_batch in loader.epoch(epoch):
            step_index = len(losses)
            if step_index == N_STEPS:
                break
            batch = float32_batch._replace(images=float32_batch.images.double())
            rate = lr * model.schedule.factor(Progress(step_index, steps, len(loader)), model.schedule.begin())
            with torch.inference_mode():
                losses.append((float(step(batch, rate)["loss"]),))
            y = reference_forward(net, params, batch.images, Mode())  # every normalization is frozen
            expected_loss = F.cross_entropy(y, batch.targets.long(), class_weights, ignore_index=11)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            optimizer.zero_grad()
            expected_loss.backward()
            optimizer.step()
            losses[-1] += (expected_loss.item(),)
    assert len(losses) == N_STEPS
    assert losses[0][0] > 1.5 * losses[-1][0]  # the loss has fallen
    for actual, expected in losses:
        assert actual == pytest.approx(expected, rel=1e-6)


@pytest.mark.heavy
def test_camvid_recipes_have_the_class_weights_of_the_data_and_ignore_label_11() -> None:
    for name in ("camvid-fcn8", "camvid-fcn16", "camvid-fcn32", "camvid-unet"):
        recipe = load_recipe(name)
        material = load_material(replace(recipe.data, limit=0), 0)
        assert recipe.network.arguments["classes"] == len(material.train.classes) == 11
        assert recipe.augment.ignore == recipe.loss.arguments["ignore"] == material.train.ignored == 11
        counts = torch.bincount(material.train.y.flatten(), minlength=12)[:11].double()
        weights = (counts.sum() / counts).sqrt()
        weights = weights * counts.sum() / (weights * counts).sum()
        assert recipe.loss.arguments["class_weights"] == pytest.approx(weights.tolist(), abs=0.006)
