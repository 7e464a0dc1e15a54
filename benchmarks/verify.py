"""Verify correct networks and objectives on many batches, none of which may fail: `python -m benchmarks.verify`."""

import argparse
import sys
import time
from pathlib import Path

import torch

from pellucid import (
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    LocalContrastNorm,
    MaxPool2d,
    Model,
    Parallel,
    ReLU,
    Sequential,
)
from pellucid.data import load
from pellucid.models import lenet
from pellucid.training.verified import verify_model
from tests.objectives import OBJECTIVES, random_batch

HEADING = """# Verification of correct networks

`Model.verify` on networks that were trained for one epoch, on 6,000 images of MNIST or on the 8x8 digits. Consecutive
batches of four held-out images are verified: every gradient in the form as written, the form for training and the form
for inference. The networks are correct, so no batch may fail. Black backgrounds put many entries on kinks (ReLUs at 0,
equal maxima). Written by `python -m benchmarks.verify`; nothing is typed by hand.

| data | network | batches | rows | entries checked | on a kink | batches that fail | seconds |
|---|---|---:|---:|---:|---:|---:|---:|
"""
OBJECTIVES_HEADING = """
## Objectives

`Model.verify` on small detectors and generators of every family and on two user-defined objectives, each on random
batches with newly drawn weights (`tests/objectives.py`). It verifies the gradients of each network, the gradients that
the objective passes to its networks, and the gradients that it returns. Twelve faults that it must find are in
`tests/verify/test_objective.py`.

| objective | batches | rows | compared with differences | batches that fail | seconds |
|---|---:|---:|---:|---:|---:|
"""


def convnet() -> Layer:
    """Return a network on which an earlier version of `verify` failed on 14 of the first 20 batches."""
    return Sequential(
        conv1=Conv2d(8, 3, padding=1), norm=BatchNorm(), act1=ReLU(), pool1=MaxPool2d(2),
        conv2=Conv2d(16, 3, padding=1), act2=ReLU(), pool2=MaxPool2d(2), flat=Flatten(), drop=Dropout(0.3),
        out=Dense(10),
    )  # fmt: skip


def mlp() -> Layer:
    last = {"b": Dense(20), "act2": ReLU(), "out": Dense(10)}
    return Sequential(flat=Flatten(), a=Dense(30), act=ReLU(), norm=LayerNorm(), **last)


def residual() -> Layer:
    body = Sequential(
        conv=Conv2d(8, 3, padding=1, bias=False), norm=BatchNorm(), act=ReLU(), conv2=Conv2d(8, 3, padding=1),
        norm2=BatchNorm(),
    )  # fmt: skip
    return Sequential(
        stem=Conv2d(8, 3, stride=2, padding=1), act=ReLU(), block=Parallel({"skip": Identity(), "body": body}, Add()),
        act2=ReLU(), pool=MaxPool2d(3, 2, 1), flat=Flatten(), out=Dense(10),
    )  # fmt: skip


def dense_block() -> Layer:
    body = Sequential(
        norm=BatchNorm(), act=ReLU(), conv=Conv2d(8, 1), norm2=BatchNorm(), act2=ReLU(), last=Conv2d(4, 3, padding=1)
    )
    layer = Parallel({"before": Identity(), "body": body}, Concat())
    return Sequential(
        stem=Conv2d(6, 3, stride=2, padding=1), one=layer, two=layer, norm=BatchNorm(), act=ReLU(), conv=Conv2d(6, 1),
        pool=AvgPool2d(2), group=GroupNorm(2), gelu=GELU(), wide=MaxPool2d(2), leaky=LeakyReLU(), flat=Flatten(),
        out=Dense(10),
    )  # fmt: skip


def contrast_net() -> Layer:
    """Return a network with contrast normalization, where autograd has no finite derivative of the square root at 0."""
    first = {"norm": LocalContrastNorm(9), "conv": Conv2d(4, 3, padding=1), "act": ReLU(), "pool": MaxPool2d(2)}
    return Sequential(**first, norm2=LocalContrastNorm(3), flat=Flatten(), out=Dense(10))


NETWORKS = {
    "convnet": convnet,
    "lenet": lenet,
    "mlp": mlp,
    "residual": residual,
    "grown": dense_block,
    "contrast": contrast_net,
}


def measure(data: str, name: str, batches: int) -> tuple[str, bool]:
    """Return the row of one network on one data set, and whether no batch failed."""
    torch.manual_seed(0)
    splits = load(data)
    x, y = splits.train.x[:6000], splits.train.y[:6000]
    net = NETWORKS[name]()
    if name == "lenet" and data == "digits":  # the 8x8 images are too small for the windows of LeNet
        net = Sequential(conv=Conv2d(6, 3, padding=1), act=ReLU(), pool=MaxPool2d(2), conv2=Conv2d(16, 3), act2=ReLU(),
                         pool2=MaxPool2d(2), flat=Flatten(), a=Dense(32), act3=ReLU(), out=Dense(10))  # fmt: skip
    model = Model(net, classes=10, optimizer="sgd" if name == "mlp" else "adam")
    model.fit(x, y, epochs=1, batch_size=32, verbose=False)
    start, checked, kinks, rows, failed = time.monotonic(), 0, 0, 0, []
    for k in range(batches):
        indices = torch.arange(4 * k, 4 * k + 4) % len(splits.test.x)
        table = model.verify(splits.test.x[indices], splits.test.y[indices])
        rows += len(table.rows)
        checked += sum(row.checked for row in table.rows)
        kinks += sum(row.kinks for row in table.rows)
        if not table.ok:
            failed.append(k)
            print(f"{data} {name}, batch {k}: {table.culprit}", file=sys.stderr)
    cells = (data, name, batches, rows, checked, kinks, len(failed), round(time.monotonic() - start))
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |", not failed


def measure_objective(name: str, batches: int) -> tuple[str, bool]:
    """Return the row of one objective, and whether no batch failed."""
    start, checked, rows, failed = time.monotonic(), 0, 0, []
    for seed in range(batches):
        objective = OBJECTIVES[name]()
        batch = random_batch(objective, seed)
        model = Model(objective, input_shape=tuple(batch.images.shape[1:]), seed=seed)
        table = verify_model(model, batch, samples=8)
        rows += len(table.rows)
        checked += sum(row.checked for row in table.rows)
        if not table.ok:
            failed.append(seed)
            print(f"{name}, batch {seed}: {table.culprit}", file=sys.stderr)
    cells = (name, batches, rows, checked, len(failed), round(time.monotonic() - start))
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |", not failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--batches", type=int, default=100, metavar="N", help="for each row (default: 100)")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS), help="networks")
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--data", nargs="*", default=["mnist", "digits"], choices=["mnist", "digits"], help="data sets")
    parser.add_argument("--docs", type=Path, help="the file to write the table to, such as docs/verify.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines, all_passed = [], True
    for data in args.data:
        for name in args.only:
            line, passed = measure(data, name, args.batches)
            print(line, flush=True)
            lines.append(line)
            all_passed = all_passed and passed
    objective_lines = []
    for name in args.objectives:
        line, passed = measure_objective(name, args.batches)
        print(line, flush=True)
        objective_lines.append(line)
        all_passed = all_passed and passed
    if args.docs:
        tables = HEADING + "\n".join(lines) + "\n" + OBJECTIVES_HEADING + "\n".join(objective_lines) + "\n"
        date = time.strftime("%Y-%m-%d")
        args.docs.write_text(f"{tables}\nMeasured {date}.\n", encoding="utf-8")
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
