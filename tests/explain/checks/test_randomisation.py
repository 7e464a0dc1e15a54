"""What depends on the weights changes with them; what does not is found out."""

import torch
from torch import Tensor

from pellucid.explain import saliency
from pellucid.explain.checks import cascade, randomisation
from pellucid.tree import flatten
from tests.explain.networks import made


def test_layers_lose_their_weights_from_the_top() -> None:
    net, params, _ = made("resnet")
    before = {name: tensor.clone() for name, tensor in flatten(params).items()}
    steps = list(cascade(net, params))
    paths = [path for path, _ in steps]
    assert paths[0] == "scores"
    assert paths[-2:] == ["norm", "stem"]
    assert len(paths) == 1 + 2 + 2 * 4
    lost: set[str] = set()
    for path, shuffled in steps:
        lost.add(path)
        for name, tensor in flatten(shuffled).items():
            layer, _, leaf = name.rpartition(".")
            changed = not torch.equal(tensor, before[name])
            assert not changed or layer in lost, name
            assert changed or layer not in lost or leaf != "weight", name
            assert not (changed and leaf.startswith("running"))
            assert torch.equal(tensor.flatten().sort().values, before[name].flatten().sort().values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in flatten(params).items()), "the network itself"


def test_saliency_changes_and_the_image_itself_does_not() -> None:
    net, params, x = made("vgg")
    found = randomisation(net, params, lambda weights: saliency(net, weights, x, 0))
    assert [one.path for one in found] == ["scores", "conv2", "conv1"]
    assert float(found[-1].likeness.max()) < 0.8

    def edges(weights: dict[str, Tensor]) -> Tensor:
        return x

    assert all(float(one.likeness.min()) > 1 - 1e-12 for one in randomisation(net, params, edges))
