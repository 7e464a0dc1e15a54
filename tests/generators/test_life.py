"""Trainings of generators: sampling, saving and loading, fused forms, evaluation, resuming."""

import pytest
import torch

from pellucid import Adam, Model
from pellucid.base.errors import PellucidError
from pellucid.fuse import fuse
from pellucid.generators import GENERATOR_CLASSES, GENERATORS, TRANSLATORS
from pellucid.layers import Mode
from pellucid.nested import flatten, map_tree
from pellucid.objective import merge_turns, seeded_generator
from tests.generators import killed
from tests.generators.small import FAMILIES, SHAPE, gan, random_params_and_batch
from tests.training.killed import killed_and_resumed
from tests.training.small import StopAt, Stopped, digits

each_family = pytest.mark.parametrize("family", FAMILIES)


def test_every_family_is_registered_for_recipes_and_weights_files() -> None:
    assert {type(make()) for make in FAMILIES.values()} <= set(GENERATOR_CLASSES)
    assert {type(make()) for make in FAMILIES.values()} <= {
        type(make()) for make in {**GENERATORS, **TRANSLATORS}.values()
    }


@each_family
def test_a_generator_trains_saves_and_loads(family: str, tmp_path) -> None:
    model = Model(FAMILIES[family](), optimizer=Adam(0.002), average=0.9)
    history = model.fit(digits(0, 60), epochs=2, batch_size=20, validation=digits(60, 80), verbose=False)
    names = [name for name in history.rows[0] if name.startswith("val_") and name.endswith("_loss")]
    assert {f"train_{name.removeprefix('val_')}" for name in names} <= set(history.rows[0])
    path = tmp_path / "made.safetensors"
    model.save(path)
    loaded = Model.load(path)
    assert loaded.objective == model.objective
    samples = loaded.objective.sample(loaded.params, 5, seeded_generator(torch.device("cpu"), 3))
    assert torch.equal(samples, model.objective.sample(model.params, 5, seeded_generator(torch.device("cpu"), 3)))
    assert samples.shape == (5, *SHAPE)
    assert 0 <= float(samples.min()) <= float(samples.max()) <= 1
    assert torch.equal(loaded.predict(digits(0, 4).x), loaded.predict(digits(4, 8).x))
    assert loaded.evaluate(digits(60, 80)) == pytest.approx(model.evaluate(digits(60, 80)))


@each_family
def test_verify_compares_the_gradients_within_each_network(family: str) -> None:
    model = Model(FAMILIES[family](), input_shape=SHAPE)
    assert model.verify(digits(0, 4).x, digits(0, 4).y).ok


@each_family
def test_watched_networks_give_the_same_gradients(family: str) -> None:
    objective = FAMILIES[family]()
    params, batch = random_params_and_batch(objective)
    copied_params = map_tree(torch.clone, params)
    watched_paths: list[str] = []
    watched = objective.watched(lambda path, *_: watched_paths.append(path))
    losses, expected = merge_turns(
        objective.gradients(params, batch, Mode(True, seeded_generator(torch.device("cpu"))))
    )
    watched_losses, actual = merge_turns(
        watched.gradients(copied_params, batch, Mode(True, seeded_generator(torch.device("cpu"))))
    )
    assert losses == watched_losses
    for path, leaf in flatten(expected).items():
        assert torch.equal(flatten(actual)[path], leaf), path
    assert {path.partition(".")[0] for path in watched_paths} == set(objective.nets)


def test_the_fused_form_of_a_gan_gives_the_same_gradients() -> None:
    objective = gan()
    params, batch = random_params_and_batch(objective)
    copied_params = map_tree(torch.clone, params)
    assert objective.fused().generator == fuse(objective.generator)
    _, expected = merge_turns(objective.gradients(params, batch, Mode(True, seeded_generator(torch.device("cpu")))))
    _, actual = merge_turns(
        objective.fused().gradients(copied_params, batch, Mode(True, seeded_generator(torch.device("cpu"))))
    )
    for path, leaf in flatten(expected).items():
        torch.testing.assert_close(flatten(actual)[path], leaf, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("family", ["gan", "wgan_gp", "r1_gan", "gmmn", "code_gmmn", "vae"])
def test_images_of_another_size_are_refused(family: str) -> None:
    with pytest.raises(PellucidError, match="outputs images of 1 x 8 x 8, but the data have 3 x 16 x 16"):
        Model(FAMILIES[family](), input_shape=(3, 16, 16))


def test_latent_vectors_are_drawn_from_the_prior() -> None:
    like = torch.zeros((), dtype=torch.float64)
    rng = seeded_generator(torch.device("cpu"))
    uniform, normal = FAMILIES["gmmn"]().latents(4000, rng, like), gan().latents(4000, rng, like)
    assert uniform.dtype == normal.dtype == torch.float64
    assert -1 <= float(uniform.min()) <= float(uniform.max()) < 1
    assert float(uniform.var()) == pytest.approx(1 / 3, rel=0.05)  # as uniform from -1 to 1
    assert float(normal.var()) == pytest.approx(1, rel=0.05)


@pytest.mark.slow
def test_a_resumed_training_ends_in_the_same_weights(tmp_path) -> None:
    """A checkpoint contains both networks, their optimizers and the averaged weights."""
    uninterrupted = killed.train(tmp_path / "whole")
    with pytest.raises(Stopped):
        killed.train(tmp_path / "stopped", [StopAt(7)])
    assert killed.train(tmp_path / "stopped") == uninterrupted


@pytest.mark.heavy
@pytest.mark.real
def test_a_repeatedly_killed_training_ends_in_the_same_weights(tmp_path) -> None:
    uninterrupted = killed.train(tmp_path / "whole")
    result, steps = killed_and_resumed(killed.train, tmp_path / "killed", kills=2)
    assert result == uninterrupted
    assert steps == sorted(set(steps))
