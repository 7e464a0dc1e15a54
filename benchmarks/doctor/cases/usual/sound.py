"""The sound trainings into which the mistakes are introduced."""

from typing import Any

from benchmarks.doctor.cases.usual.training import Training
from benchmarks.doctor.material import material
from benchmarks.doctor.settings import conv, mlp
from pellucid.layers import ReLU, Tanh
from pellucid.optim import Adam, Momentum

SOUND_SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"net": conv(12, 24), "optimizer": Momentum(0.02), "epochs": 8},
    "digits-mlp": {"net": mlp(ReLU, 48), "optimizer": Adam(3e-3), "epochs": 12},
    "mnist": {"net": conv(8, 16), "optimizer": Momentum(0.02), "epochs": 4},
    "mnist-plain": {"net": conv(8, 16, norm=False), "optimizer": Momentum(0.01), "epochs": 6},
    "mnist-mlp": {"net": mlp(ReLU, 64), "optimizer": Adam(1e-3), "epochs": 8},
    "signs": {"net": conv(8, 16, 24), "optimizer": Adam(3e-3), "epochs": 10},
    "cifar": {"net": conv(8, 16, 24), "optimizer": Adam(3e-3), "epochs": 3},
    "arrows": {"net": conv(8, 16), "optimizer": Adam(3e-3), "epochs": 6},
    "clusters": {"net": mlp(Tanh, 64), "optimizer": Adam(3e-3), "epochs": 12, "scale": False},
    "places": {"net": mlp(ReLU, 64), "optimizer": Adam(2e-3), "epochs": 12},
}


def sound_training(name: str, seed: int, **changes: Any) -> Training:
    """Return a training that learns well, with some fields changed. name: a key of SOUND_SETTINGS."""
    train, validation = material(name.partition("-")[0], seed)
    return Training(train, validation, **{**SOUND_SETTINGS[name], "seed": seed, **changes})
