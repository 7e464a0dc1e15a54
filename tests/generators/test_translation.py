"""Translators: gradients compared with autograd, encodings with brute force, sizes, grey images and hints."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch.nn import functional as F

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.data.source import Batch
from pellucid.generators import TRANSLATORS, Translator, l1, mse, pix2pix, zhang
from pellucid.generators.translation import CHROMA_SCALE, LIGHTNESS_SCALE, MAX_DOTS, draw_hints
from pellucid.generators.zhang import annealed_mean, colour_table, encode
from pellucid.layers import Mode
from pellucid.nested import flatten, map_tree
from pellucid.objective import Objective, merge_turns
from tests.references import reference_forward

SMALL_TRANSLATORS = {
    "l1": l1(width=2, levels=2),
    "mse": mse(width=2, levels=3, norm="instance"),
    "zhang": zhang(width=2, levels=2),
    "pix2pix": pix2pix(width=2, levels=2, field=16, discriminator_width=2, gan="least_squares"),
    "hinted": pix2pix(width=2, levels=2, field=1, discriminator_width=2, gan="hinge", hints=True),
    "rgb": l1(to="rgb", width=2, levels=2, hints=True),
    "pix2pix rgb": pix2pix(to="rgb", width=2, levels=2, field=16, discriminator_width=2, gan="least_squares"),
}


def smooth_images(count=2, height=16, width=16, seed=0):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=rng, dtype=torch.float64)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def random_params(net: Objective, shape=(3, 16, 16), factor=10):
    params, _ = net.init(shape, torch.Generator().manual_seed(0))
    return map_tree(lambda leaf: (factor * leaf if leaf.dim() == 4 else leaf).double(), params)


def reference_losses(net: Translator, params, batch, mode):
    """Return the parameters by path, and the weighted loss of each network, computed by plain PyTorch."""
    leaves = map_tree(torch.clone, params)
    for path, leaf in flatten(leaves).items():
        leaf.requires_grad_(path.split(".")[-1] in ("weight", "bias"))
    x, expected = net.pair(batch, mode())
    y = reference_forward(net.generator, leaves["generator"], x, Mode(True))
    if isinstance(net, type(SMALL_TRANSLATORS["zhang"])):
        centres = colour_table().centres.double()
        ab = F.avg_pool2d(expected * CHROMA_SCALE, 2).round()
        distance = (ab.permute(0, 2, 3, 1)[..., None, :] - centres).square().sum(-1)  # (N, h, w, Q)
        nearest_distances, nearest = distance.topk(5, largest=False)
        probabilities = torch.zeros_like(distance).scatter(3, nearest, (nearest_distances / -50).softmax(3))
        frequency = probabilities.flatten(0, 2).mean(0)  # as estimated from the first batch
        weight = 1 / (0.5 * frequency + 0.5 / len(centres))
        weight = weight / (weight * frequency).sum()
        cost = -(probabilities * y.permute(0, 2, 3, 1).log_softmax(3)).sum(3)
        return flatten(leaves), {"generator": (weight[nearest[..., 0]] * cost).mean()}
    if not isinstance(net, type(SMALL_TRANSLATORS["pix2pix"])):
        error = y - expected
        return flatten(leaves), {
            "generator": error.abs().mean() if net.loss == SMALL_TRANSLATORS["l1"].loss else 0.5 * error.square().mean()
        }

    def classify(image):
        return reference_forward(net.discriminator, leaves["discriminator"], torch.cat([x, image], 1), Mode(True))

    real_scores, generated_scores, generator_scores = classify(expected), classify(y.detach()), classify(y)
    if net.gan == "hinge":
        losses = F.relu(1 - real_scores).mean() + F.relu(1 + generated_scores).mean(), -generator_scores.mean()
    else:
        losses = ((real_scores - 1) ** 2 + generated_scores**2).mean() / 2, ((generator_scores - 1) ** 2).mean() / 2
    return flatten(leaves), {
        "discriminator": 0.5 * losses[0],
        "generator": losses[1] + 100 * (y - expected).abs().mean(),
    }


@pytest.mark.parametrize("name", SMALL_TRANSLATORS)
def test_gradients_are_those_of_automatic_differentiation(name):
    net = SMALL_TRANSLATORS[name]
    params, batch = random_params(net), Batch(smooth_images(), None)

    def mode():
        return Mode(True, torch.Generator().manual_seed(3))

    leaves, costs = reference_losses(net, params, batch, mode)
    copied_params = map_tree(torch.clone, params)
    dparams = flatten(merge_turns(net.gradients(copied_params, batch, mode()))[1])
    fused_dparams = flatten(merge_turns(net.fused().gradients(map_tree(torch.clone, params), batch, mode()))[1])
    for net_name, cost in costs.items():
        paths = [path for path in dparams if path.startswith(net_name)]
        expected = torch.autograd.grad(cost, [leaves[path] for path in paths], retain_graph=True)
        for path, leaf in zip(paths, expected, strict=True):
            torch.testing.assert_close(dparams[path], leaf, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(fused_dparams[path], leaf, rtol=1e-7, atol=1e-9)
    learned_paths = {path for path in leaves if path.split(".")[-1] in ("weight", "bias")}
    assert dparams.keys() == learned_paths


@pytest.mark.parametrize("name", SMALL_TRANSLATORS)
def test_images_of_any_size_are_padded_and_cropped(name):
    net, images = SMALL_TRANSLATORS[name], smooth_images(2, 13, 18)
    params = random_params(net)
    _, out = net.init((3, 13, 18), torch.Generator())
    predictions = net.predict(params, images)
    assert predictions.shape == (2, *out) == (2, 2, 13, 18)
    padded = F.pad(images, (0, -18 % net.multiple, 0, -13 % net.multiple), "replicate")
    torch.testing.assert_close(predictions, net.predict(params, padded)[:, :, :13, :18])
    evaluated = net.evaluator(params, 2)(Batch(images, None))
    torch.testing.assert_close(evaluated.outputs, predictions)
    expected = merge_turns(net.gradients(params, Batch(images, None), Mode()))[0]
    assert evaluated.losses.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(evaluated.losses[key], value)


def test_colours_depend_only_on_lightness():
    net = SMALL_TRANSLATORS["l1"]
    params, images = random_params(net), smooth_images()
    lab = rgb2lab(images.permute(0, 2, 3, 1).numpy())
    x, expected = net.pair(Batch(images, None), Mode())
    np.testing.assert_allclose(x[:, 0] * LIGHTNESS_SCALE + LIGHTNESS_SCALE, lab[..., 0], atol=0.02)
    np.testing.assert_allclose(expected.permute(0, 2, 3, 1) * CHROMA_SCALE, lab[..., 1:], atol=0.05)
    shade = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(net.predict(params, shade), net.predict(params, shade.expand(1, 3, 16, 16)))


@pytest.mark.parametrize("name", ["rgb", "pix2pix rgb"])
def test_colours_of_rgb_generators_are_those_of_the_generated_images(name):
    net = SMALL_TRANSLATORS[name]
    params, images = random_params(net), smooth_images()
    x, expected = net.pair(Batch(images, None), Mode())
    torch.testing.assert_close(expected, 2 * images - 1)
    torch.testing.assert_close(
        x, SMALL_TRANSLATORS["hinted" if net.hints else "l1"].pair(Batch(images, None), Mode()).x
    )
    result = (net.generator.forward(params["generator"], x, Mode())[0].clamp(-1, 1) + 1) / 2
    lab = rgb2lab(result.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(net.predict(params, images).permute(0, 2, 3, 1), lab[..., 1:], atol=0.05)


def test_bins_are_the_grid_points_nearest_to_colours():
    centres = colour_table().centres
    assert bool((centres % 10 == 0).all())
    random_colours = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nearest = np.round(rgb2lab(random_colours.numpy())[:, 1:] / 10) * 10
    assert {tuple(row) for row in nearest.tolist()} <= {tuple(row) for row in centres.tolist()}
    assert [-80.0, -40.0] not in centres.tolist()  # no colour of sRGB is near
    assert len({tuple(row) for row in centres.tolist()}) == len(centres)


def test_encodings_are_gaussians_over_the_nearest_bins():
    colours = torch.tensor([[0.0, 0.0], [3.0, -4.0], [80.0, 67.0], [-86.0, 83.0]], dtype=torch.float64)
    result = encode(colours.T[None, :, None])  # an image of one row
    centres = colour_table().centres.double()
    for k, colour in enumerate(colours):
        distance = (centres - colour).norm(dim=1)
        nearest_distances = distance.sort().values[:5]
        torch.testing.assert_close(distance[result.bins[0, :, 0, k]], nearest_distances)
        weights = torch.exp(-(nearest_distances**2) / (2 * 5**2))
        torch.testing.assert_close(result.probabilities[0, :, 0, k], weights / weights.sum(), rtol=1e-5, atol=1e-6)


def test_the_annealed_mean_goes_from_the_mean_to_the_mode():
    centres = colour_table().centres.double()
    logits = torch.randn(1, len(centres), 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean = (logits.softmax(1)[0, :, 0, 0, None] * centres).sum(0)
    torch.testing.assert_close(annealed_mean(logits, 1.0)[0, :, 0, 0], mean)
    torch.testing.assert_close(annealed_mean(logits, 1e-3)[0, :, 0, 0], centres[logits.argmax()])


def test_zhang_is_loaded_by_a_process_without_a_cached_colour_table(tmp_path):
    Model(zhang(width=2, levels=2), input_shape=(3, 16, 16)).save(tmp_path / "m.safetensors")
    colour_table.cache_clear()
    assert Model.load(tmp_path / "m.safetensors").output_shape == (2, 16, 16)
    assert colour_table().centres.device.type == "cpu"


def test_hints_are_dots_of_true_colours():
    ab = torch.rand(200, 2, 60, 84, generator=torch.Generator().manual_seed(2)) + 0.1
    dots = draw_hints(ab, torch.Generator().manual_seed(4))
    mask = dots[:, 2]
    assert bool(((mask == 0) | (mask == 1)).all())
    assert bool((dots[:, :2][(mask == 0)[:, None].expand(-1, 2, -1, -1)] == 0).all())
    counts = mask.flatten(1).sum(1)
    share_without_dots = float((counts == 0).float().mean())
    assert 0.06 < share_without_dots < 0.2  # 1/8 of the images have none
    assert counts.max() <= MAX_DOTS * 4
    image_index = next(k for k in range(200) if counts[k] == 1)
    assert torch.equal(dots[image_index, :2][:, mask[image_index] == 1], ab[image_index][:, mask[image_index] == 1])
    same_dots = draw_hints(ab, torch.Generator().manual_seed(4))
    assert torch.equal(dots, same_dots)


def test_evaluation_with_noise_uses_the_predictions_with_noise():
    net, images = pix2pix(width=2, levels=2, field=1, discriminator_width=2, noise=True), smooth_images().float()
    params, _ = net.init(tuple(images.shape[1:]), torch.Generator().manual_seed(0))
    result = net.evaluator(params, len(images))(Batch(images, None))
    torch.testing.assert_close(result.outputs, net.predict(params, images))
    assert set(result.losses) == {"discriminator", "generator", "l1"}


def test_a_hint_changes_the_prediction_and_needs_a_model_with_hints():
    net, images = SMALL_TRANSLATORS["hinted"], smooth_images()
    params = random_params(net)
    hints = torch.zeros(2, 3, 16, 16)
    torch.testing.assert_close(net.predict(params, images, hints), net.predict(params, images))
    hints[:, :, 4, 4] = torch.tensor([60.0, 40.0, 1.0])
    assert not torch.allclose(net.predict(params, images, hints), net.predict(params, images))
    with pytest.raises(PellucidError, match="was not trained with hints; use a model that was"):
        SMALL_TRANSLATORS["l1"].predict(random_params(SMALL_TRANSLATORS["l1"]), images, hints)


def test_noise_applies_dropout_and_does_not_change_the_running_statistics():
    net = pix2pix(width=2, levels=5, field=16, discriminator_width=2, noise=True)
    params = random_params(net, (3, 32, 32))
    initial_params = map_tree(torch.clone, params)
    images = smooth_images(2, 32, 32)
    prediction, second_prediction = net.predict(params, images), net.predict(params, images)
    assert torch.equal(prediction, second_prediction)
    assert not torch.allclose(
        prediction, pix2pix(width=2, levels=5, field=16, discriminator_width=2).predict(params, images)
    )
    for path, leaf in flatten(initial_params).items():
        assert torch.equal(leaf, flatten(params)[path])


def test_a_translator_of_label_maps_outputs_images_and_refuses_class_targets():
    net = pix2pix(to="image", width=2, levels=2, field=16, discriminator_width=2)
    params = random_params(net, (5, 8, 12))
    maps, expected = torch.rand(2, 5, 8, 12).double(), torch.rand(2, 3, 8, 12).double()
    losses, dparams = merge_turns(net.gradients(params, Batch(maps, expected), Mode(True, torch.Generator())))
    assert losses.keys() == {"discriminator", "generator", "l1"}
    assert dparams.keys() == {"generator", "discriminator"}
    predictions = net.predict(params, maps)
    assert predictions.shape == expected.shape
    assert 0 <= predictions.min() <= predictions.max() <= 1
    with pytest.raises(PellucidError, match=r"takes images .* as targets, not"):
        net.check((3, 8, 12), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("name", ["l1", "mse", "zhang", "pix2pix"])
def test_colorizers_learn_save_and_load(name, tmp_path):
    options = {"field": 16, "discriminator_width": 2} if name == "pix2pix" else {}
    net = TRANSLATORS[name](width=2, levels=2, **options)
    model = Model(net, optimizer="adam", metrics=["colours"], input_shape=(3, None, None), average=0.9)
    images = smooth_images(8).float()
    history = model.fit(images, torch.zeros(8), epochs=2, batch_size=4, verbose=False)
    assert all(np.isfinite(history["train_loss"]))
    model.save(tmp_path / "it.safetensors")
    loaded = Model.load(tmp_path / "it.safetensors")
    assert loaded.objective == net
    torch.testing.assert_close(
        loaded.predict(smooth_images(2, 9, 14).float()), model.predict(smooth_images(2, 9, 14).float())
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: l1(to="image", hints=True), "hints are colours; leave them out with to='image'"),
        (lambda: pix2pix(l1=-1.0), "l1 must be 0 or more, not -1.0"),
        (lambda: zhang(temperature=0.0), "temperature must be a number above 0 and at most 1"),
        (
            lambda: SMALL_TRANSLATORS["l1"].init((4, 8, 8), torch.Generator()),
            r"takes RGB or grey images .* not \(4, 8, 8\)",
        ),
        (
            lambda: SMALL_TRANSLATORS["l1"].pair(Batch(torch.zeros(1, 1, 4, 4), None), Mode()),
            r"learns colours, but images are grey; give RGB \(data.mode\)",
        ),
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused_with_a_remedy(make, message):
    with pytest.raises(PellucidError, match=message):
        make()
