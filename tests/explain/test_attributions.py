"""Explanations by `Model.explain`: pictures and names of classes as arguments, and maps that draw themselves."""

import copy
import pickle

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.model import Model


def test_pictures_and_names_of_classes_are_explained_and_traced_as_they_are_predicted(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    files = [tmp_path / f"{k}.png" for k in range(2)]
    for file, pixels in zip(files, values, strict=True):
        Image.fromarray(pixels).save(file)
    net = Sequential(conv=Conv2d(4, 3), flat=Flatten(), scores=Dense(3))
    model = Model(net, input_shape=(3, 8, 8), classes=list("abc"))
    x = torch.from_numpy(values).permute(0, 3, 1, 2) / 255
    for pictures in (files, [Image.open(file) for file in files], tmp_path):
        torch.testing.assert_close(model.explain(pictures).as_subclass(torch.Tensor), model.explain(x) + 0)
    assert model.trace(files[0], ["b"]).loss == pytest.approx(model.trace(x[:1], [1]).loss)
    assert model.ledger(str(files[0]), "c").map.shape == (1, 3, 8, 8)
    assert torch.equal(model.explain(x, target="b") + 0, model.explain(x, target=1) + 0)
    assert torch.equal(model.explain(x, target=["c", "a"]) + 0, model.explain(x, target=[2, 0]) + 0)
    with pytest.raises(PellucidError, match="no 'bb'; did you mean 'b'"):
        model.explain(x, target="bb")


def test_attributions_of_images_draw_themselves(tmp_path, monkeypatch):
    model = Model(Sequential(conv=Conv2d(4, 3), flat=Flatten(), scores=Dense(3)), input_shape=(3, 8, 8))
    maps = model.explain(torch.rand(2, 3, 8, 8), "saliency")
    assert repr(maps).startswith("<Attributions by saliency: 2 x 3 x 8 x 8, from ")
    assert ".save('saliency.png')" in repr(maps)
    monkeypatch.chdir(tmp_path)
    maps.save("saliency.png", 1)
    with Image.open("saliency.png") as picture:
        assert picture.size[0] > 100
    assert isinstance(maps.figure(), Figure)
    with pytest.raises(PellucidError, match=r"written as PNG; give a name such as map\.png"):
        maps.save("map.svg")
    assert type(maps + 0) is type(maps[0]) is type(maps.sum()) is torch.Tensor
    assert np.asarray(maps).shape == (2, 3, 8, 8)
    assert repr(copy.deepcopy(maps)) == repr(maps)
    assert type(pickle.loads(pickle.dumps(maps))) is torch.Tensor
    torch.save(maps, "maps.pt")
    assert torch.equal(torch.load("maps.pt", weights_only=True), maps + 0)
    vectors = Model(Dense(3), input_shape=(4,)).explain(torch.rand(2, 4))
    assert repr(vectors).startswith("tensor([[")
    with pytest.raises(PellucidError, match=r"only images .* are drawn, not inputs \(2, 4\)"):
        vectors.figure()
