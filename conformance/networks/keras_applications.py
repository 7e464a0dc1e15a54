"""Keras Applications' networks compared with ours."""

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from safetensors.torch import load_file
from torch import Tensor

from conformance.case import Case
from conformance.networks.answer import Answer, PassResult
from conformance.networks.network import Network
from pellucid import models
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.models.parts import vgg_head


def cases() -> Iterator[Case]:
    """Yield the cases of the six networks, each on images that are small but leave no layer without input."""
    keras = version("keras")
    mobilenet, resnet = {"epsilon": 1e-3, "pad": "same"}, {"epsilon": 1.001e-5, "stride_first": True}
    networks = (
        ("VGG16", models.vgg16, _vgg_for_64_pixels(models.vgg16()), 64, False),
        ("VGG19", models.vgg19, _vgg_for_64_pixels(models.vgg19()), 64, False),
        ("ResNet50", models.resnet50, models.resnet50(**resnet), 64, True),
        ("DenseNet121", models.densenet121, models.densenet121(epsilon=1.001e-5), 64, True),
        ("MobileNetV2", models.mobilenet_v2, models.mobilenet_v2(**mobilenet), 64, True),
        ("InceptionV3", models.inception_v3, models.inception_v3(count_include_pad=False), 128, True),
    )
    for name, subject, net, side, trains in networks:
        ask = partial(_ask, name, side, trains)
        yield from Network(f"keras.applications {name}", keras, subject, net, ask, trains).cases()


def _vgg_for_64_pixels(net: Sequential) -> Sequential:
    """Return a VGG with a head for images of 64 x 64 pixels, whose last feature maps are 2 x 2."""
    return Sequential(features=net.layers["features"], head=Sequential(**vgg_head(1000, 2)))


@lru_cache(maxsize=1)  # the cases of one network follow one another
def _ask(name: str, side: int, trains: bool) -> Answer:
    tensors = _process().ask(name, side)
    return Answer(
        _with_prefix(tensors, "weights "),
        tensors["x"],
        tensors["dy"],
        tensors["single"],
        _pass_result(tensors, "evaluation "),
        _pass_result(tensors, "training ") if trains else None,
        unbiased=False,
    )


class _Process:
    """A process that runs Keras, from the first request until this process ends."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "conformance.networks.keras_side"]
        environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.stderr_file = TemporaryFile("w+")  # noqa: SIM115 - stays open until _end
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr_file, text=True, env=environment
        )
        weakref.finalize(self, _end, self.process, self.stderr_file)

    def ask(self, name: str, side: int) -> dict[str, Tensor]:
        """Return the tensors that keras_side writes for a network, by name; raise PellucidError if it ended."""
        stdin, stdout = _pipes(self.process)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "answer.safetensors"
            stdin.write(f"{name}\t{side}\t{path}\n")
            stdin.flush()
            if stdout.readline() != "done\n":
                self.stderr_file.seek(0)
                last_line = (self.stderr_file.read().strip() or "it said nothing").splitlines()[-1]
                raise PellucidError(f"scorecard: Keras ended at {name} ({last_line}); try it alone in Python")
            return load_file(path)


@cache
def _process() -> _Process:
    return _Process()


def _end(process: subprocess.Popen[str], stderr_file: IO[str]) -> None:
    for pipe in _pipes(process):
        pipe.close()
    process.wait()
    stderr_file.close()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _pass_result(tensors: dict[str, Tensor], mode_prefix: str) -> PassResult:
    return PassResult(
        tensors[f"{mode_prefix}logits "],
        tensors[f"{mode_prefix}dx "],
        _with_prefix(tensors, f"{mode_prefix}dweights "),
        _with_prefix(tensors, f"{mode_prefix}statistics "),
    )


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
