"""A user-defined combinator is saved, loaded, verified, traced and exported."""

from dataclasses import dataclass, field

import onnxruntime
import torch
from torch.nn import functional as F

import pellucid
from pellucid import Add, Combinator, Conv2d, Dense, Flatten, Layer, Model, Sequential
from pellucid.combine.base import init_child
from pellucid.export import to_onnx
from pellucid.extend.registry import REGISTERED
from tests.own.parts import Scale
from tests.training.small import digits


@dataclass(frozen=True)
class Residual(Combinator):
    """y = x + body(x)."""

    body: Layer
    merge: Layer = field(default_factory=Add)

    @property
    def layers(self):
        return {"body": self.body, "merge": self.merge}

    def rebuild(self, layers):
        return Residual(**layers)

    def init(self, shape, rng):
        params, _ = init_child("body", self.body, shape, rng)
        return {"body": params, "merge": {}}, shape

    def flow(self, params, x, mode, step):
        y, body = step("body", self.body, params["body"], x, mode)
        z, merge = step("merge", self.merge, {}, (x, y), mode)
        return z, {"body": body, "merge": merge}

    def sweep(self, params, cache, dy, back):
        (dx, dbody), _ = back("merge", self.merge, {}, cache.pop("merge"), dy)
        dx_body, dparams = back("body", self.body, params["body"], cache.pop("body"), dbody)
        return dx + dx_body, {"body": dparams, "merge": {}}


def test_a_user_defined_combinator_trains_saves_loads_and_explains(tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", dict(REGISTERED))
    pellucid.register(Residual, Scale)
    body = Sequential(conv=Conv2d(1, 3, padding=1), scale=Scale())
    model = Model(Sequential(block=Residual(body), flat=Flatten(), out=Dense(10)), optimizer="momentum")
    model.fit(digits(), epochs=2, batch_size=30, run=tmp_path / "run", verbose=False)
    loaded = Model.load(tmp_path / "run/weights/last.safetensors")
    assert loaded.net == model.net
    assert loaded.sha256() == model.sha256()
    x, y = digits(300, 304).x, digits(300, 304).y
    assert loaded.verify(x, y).ok

    weights = loaded.weights
    inner = F.conv2d(x, weights["block.body.conv.weight"], weights["block.body.conv.bias"], padding=1)
    scores = F.linear(
        (x + inner * weights["block.body.scale.factor"]).flatten(1), weights["out.weight"], weights["out.bias"]
    )
    torch.testing.assert_close(loaded.predict(x), scores.softmax(1))
    torch.testing.assert_close(torch.tensor(loaded.trace(x, y).loss), F.cross_entropy(scores, y))
    to_onnx(loaded, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), scores)
