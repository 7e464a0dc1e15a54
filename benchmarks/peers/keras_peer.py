"""Keras on JAX: each step is one batch of `fit`, compiled before it is timed."""

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

from benchmarks.jobs import Job, resnet_size
from benchmarks.networks import VGG16


def _resnet20(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    def conv(y: keras.KerasTensor, channels: int, kernel: int, stride: int) -> keras.KerasTensor:
        y = layers.Conv2D(channels, kernel, stride, "same", use_bias=False)(y)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y)

    y = layers.ReLU()(conv(x, width, 3, 1))
    for stage in range(3):
        for index in range(3):
            channels, stride = width * 2**stage, 2 if stage and index == 0 else 1
            body = conv(layers.ReLU()(conv(y, channels, 3, stride)), channels, 3, 1)
            skip = conv(y, channels, 1, stride) if stride == 2 else y
            y = layers.ReLU()(layers.Add()([body, skip]))
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(y))


def network(job: Job) -> keras.Model:
    shape = job.shape if len(job.shape) == 1 else (*job.shape[1:], job.shape[0])
    x = keras.Input(shape)
    y = x
    if job.network == "mlp":
        y = layers.Dense(10, "sigmoid")(layers.Dense(30, "sigmoid")(y))
    elif job.network == "lenet":
        y = layers.MaxPooling2D()(layers.Conv2D(6, 5, padding="same", activation="relu")(y))
        y = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(16, 5, activation="relu")(y)))
        y = layers.Dense(10)(layers.Dense(84, "relu")(layers.Dense(120, "relu")(y)))
    elif job.network == "vgg16":
        for widths in VGG16:
            for width in widths:
                y = layers.Conv2D(width, 3, padding="same", activation="relu")(y)
            y = layers.MaxPooling2D()(y)
        y = layers.Dense(4096, "relu")(layers.Dense(4096, "relu")(layers.Flatten()(y)))
        y = layers.Dense(job.classes)(y)
    else:
        y = _resnet20(y, resnet_size(job.network)[1])
    return keras.Model(x, y)


def make(job: Job) -> Callable[[int], None]:
    keras.utils.set_random_seed(0)
    if job.precision == "bf16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    net = network(job)
    loss = "mean_squared_error" if job.network == "mlp" else keras.losses.SparseCategoricalCrossentropy(True)
    net.compile(keras.optimizers.SGD(0.01), loss, jit_compile=True)
    rng = np.random.default_rng(0)
    shape = net.input_shape[1:]
    x = rng.random((job.batch * job.steps, *shape), dtype=np.float32)
    target = np.arange(len(x)) % job.classes
    if job.network == "mlp":
        target = np.eye(job.classes, dtype=np.float32)[target]

    def run(steps: int) -> None:
        rows = steps * job.batch
        net.fit(x[:rows], target[:rows], job.batch, epochs=1, verbose=0, shuffle=False)

    return run
