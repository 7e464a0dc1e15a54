"""Training steps of ResNet-50 by Keras on JAX, in a process of its own: `python -m benchmarks.gpu.keras_steps ...`."""

import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.gpu.settings import Settings

# By default, JAX takes most of the memory of a GPU.
ENVIRONMENT = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def keras_training(settings: Settings) -> dict[str, Any]:
    """Return seconds of a step and images a second of ResNet-50 in each precision."""

    def measure(precision: str) -> dict[str, Any]:
        sizes = str(settings.batch), str(settings.side), str(settings.seconds)
        command = [sys.executable, "-m", "benchmarks.gpu.keras_steps", precision, *sizes]
        seconds_left = max(1.0, settings.deadline - time.monotonic())
        options: dict[str, Any] = {"capture_output": True, "text": True, "env": {**os.environ, **ENVIRONMENT}}
        result = subprocess.run(command, check=False, timeout=seconds_left, **options)
        if result.returncode:
            raise RuntimeError((result.stderr.strip() or "no message").splitlines()[-1])
        return json.loads(result.stdout.splitlines()[-1])

    return {
        f"resnet50, {precision}, keras on jax": settings.try_measure(lambda precision=precision: measure(precision))
        for precision in settings.precisions
    }


def measure_steps(precision: str, batch: int, side: int, seconds: float) -> dict[str, float]:
    """Return the median seconds of a step whose batch is on the device, and images a second."""
    import jax
    import keras
    import numpy as np
    import torch

    if precision == "bf16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    net = keras.applications.ResNet50(weights=None, input_shape=(side, side, 3), classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.SGD(0.01, 0.9), loss, jit_compile=True)
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.random((batch, side, side, 3), dtype=np.float32))
    targets = jax.device_put(np.arange(batch) % 1000)
    settings = Settings(torch.device("cpu"), 0.0, seconds=seconds)  # the loss that a step returns is waited for
    median = settings.time(lambda: net.train_on_batch(images, targets))
    return {"seconds": median, "images_per_second": batch / median}


if __name__ == "__main__":
    print(json.dumps(measure_steps(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
