"""Convolution.

A convolutional layer slides small kernels over an image. At each position it multiplies the kernel by the pixels under
it and sums the products, which gives one value of the output. The same few weights are used at every position. The
photo is one of scikit-learn's sample images.
"""

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from pellucid.layers import AvgPool2d, Conv2d, ConvTranspose2d, LpPool2d, MaxPool2d
from pellucid.layers.base import Layer, Mode
from pellucid.lessons.lesson import Result, Setting
from pellucid.models import alexnet
from pellucid.network.counts import counts, output_size, read_layers, receptive_field
from pellucid.report.figures import grids

VERTICAL_EDGES = torch.tensor([[-1.0, 0.0, 1.0]]).expand(3, 3)  # positive where the image gets brighter to the right
THREE_CONVS = ["Conv2d(10, 3)"] * 3  # as text, for `read_layers`


def photo() -> Tensor:
    """Return a photo as grey values from 0 to 1, (213, 320)."""
    pixels = torch.from_numpy(load_sample_image("china.jpg").copy()).float() / 255  # (427, 640, 3)
    return apply_layer(AvgPool2d(2), pixels.mean(2))


def apply_layer(layer: Layer, image: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Return a layer's output (H', W') for an image (H, W), with an optional kernel (h, w) as its weights."""
    params = {} if kernel is None else {"weight": kernel[None, None]}
    y, _ = layer.forward(params, image[None, None], Mode())
    return y[0, 0]


def sliding(setting: Setting) -> Result:
    """A kernel slides over a photo.

    The input is a patch of 6 x 6 pixels of the photo, a bright post in the shade, in grey values from 0 to 9. The
    kernel subtracts the pixels to the left of a position from those to the right. The figure shows the window of 3 x 3
    pixels at the first positions and at the last: 16 positions, 16 values. In deep learning this is called convolution
    although the kernel is not flipped; in mathematics it is a cross-correlation.
    """
    patch = (9 * photo()[99:105, 50:56]).round()  # (6, 6)
    output = apply_layer(Conv2d(1, 3, bias=False), patch, VERTICAL_EDGES)  # (4, 4)
    first_output = (patch[:3, :3] * VERTICAL_EDGES).sum()  # the first position by hand
    numbers = {"patch": patch.tolist(), "output": output.tolist(), "first position by hand": first_output.item()}
    return Result(numbers, grids.sliding_window(patch, output, 3, (1, 2, 5, 16)))


def filters(setting: Setting) -> Result:
    """What kernels find.

    The weights decide what the output shows. Equal weights blur. Weights that add up to 0 have the output 0 on uniform
    areas: they find edges of one direction, or of all directions. A network learns such weights from its data.
    """
    laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    identity = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    kernels = {
        "blur": torch.full((3, 3), 1 / 9),
        "sharpen": identity - laplacian,
        "vertical edges": VERTICAL_EDGES,
        "horizontal edges": VERTICAL_EDGES.T,
        "all edges": laplacian,
    }
    image, layer = photo(), Conv2d(1, 3, padding=1, bias=False)
    outputs = {name: apply_layer(layer, image, kernel) for name, kernel in kernels.items()}
    inner = {name: y[1:-1, 1:-1] for name, y in outputs.items()}  # without the padding of zeros at the edges
    numbers = {name: y.abs().mean().item() for name, y in inner.items()}
    figure = grids.image_panels(
        {"photo": image[1:-1, 1:-1], **inner}, maps=[name for name in kernels if "edges" in name]
    )
    return Result({"mean of |output|": numbers}, figure)


def sizes(setting: Setting) -> Result:
    """The size of the output.

    A kernel of K pixels fits W - K + 1 times into a row of W pixels. P zeros at both ends add 2 P positions, and a
    stride S uses every S-th position: O = (W - K + 2 P)/S + 1, rounded down. The first layer of AlexNet has W = 227,
    K = 11 and S = 4: 55 positions. Padding of (K - 1)/2 keeps the size. The figure shows a row of 7 pixels, and the
    pixels in each window.
    """
    cases = {"K 3": (3, 1, 0), "K 3, P 1": (3, 1, 1), "K 3, S 2": (3, 2, 0), "K 3, S 3, P 1": (3, 3, 1)}
    numbers = {name: output_size(7, *case) for name, case in cases.items()}
    windows = {
        f"{name}: {numbers[name]} positions": (7, padding, kernel, [k * stride - padding for k in range(numbers[name])])
        for name, (kernel, stride, padding) in cases.items()
    }
    return Result({"7 pixels": numbers, "227, K 11, S 4": output_size(227, 11, 4)}, grids.convolution_rows(windows))


def weights(setting: Setting) -> Result:
    """Weights and multiply-adds.

    A filter has one weight for each pixel of its window and each channel of its input. AlexNet's first layer has 96
    filters of 11 x 11 x 3: 34,848 weights and 96 biases. Twenty filters of 5 x 5 on a grey image have 520 parameters,
    one 45th of the 23,550 of a dense layer from 784 pixels to 30 units. A second layer of 10 filters has (20 · 25 + 1)
    · 10 = 5,010 parameters. The number (25 + 1) · 10 = 260, which is often stated, ignores that each filter has weights
    for all 20 input maps. A layer of 7 x 7 from c to c maps has 49 c² weights; three layers of 3 x 3, with the same
    receptive field, have 27 c². Two layers of 3 x 3 have 18 c² weights, and a receptive field of 5 x 5.

    The figure shows AlexNet: convolutions have few of the weights, since they reuse them at every position, but nearly
    all multiply-adds; the dense layers have most of the weights.
    """
    alexnet_conv1 = counts(read_layers("Conv2d(96, 11, stride=4)"), (3, 227, 227))
    two_layers = counts(read_layers("Conv2d(20, 5), Conv2d(10, 5)"), (1, 28, 28))
    stacks = {
        name: counts(read_layers(", ".join(layers)), (10, 28, 28)).weights
        for name, layers in (("7 x 7", ["Conv2d(10, 7)"]), ("three 3 x 3", THREE_CONVS), ("two 3 x 3", THREE_CONVS[:2]))
    }
    numbers = {
        "AlexNet's first layer: weights": alexnet_conv1.weights,
        "with biases": alexnet_conv1.parameters,
        "multiply-adds": alexnet_conv1.multiply_adds,
        "two layers of 5 x 5, with biases": [row.weights + row.biases for row in two_layers.rows],
        "784-30": counts(read_layers("Dense(30)"), (784,)).parameters,
        "over 10 maps": stacks,
    }
    rows = [row for row in counts(alexnet(original=True), (3, 227, 227)).rows if row.weights]
    counts_by_layer = {row.path.split(".")[-1]: (row.weights, row.multiply_adds) for row in rows}
    return Result(numbers, grids.bar_panels(counts_by_layer, ("weights", "multiply-adds")))


def fields(setting: Setting) -> Result:
    """Receptive fields.

    A value of the first layer depends on 3 x 3 pixels. A value of the second layer depends on 3 x 3 values of the
    first, and therefore on 5 x 5 pixels; after three such layers, it depends on 7 x 7 pixels. Pooling with stride 2
    doubles the number of pixels that each later layer adds. The figure shows the receptive field of the middle unit of
    each layer on the photo.
    """
    stack = ", ".join(["Conv2d(1, 3), Conv2d(1, 3), MaxPool2d(2)"] * 4)
    stack_layers = receptive_field(read_layers(stack))
    three_convs = receptive_field(read_layers(", ".join(["Conv2d(1, 3)"] * 3)))
    image = photo()[20:180, 80:240]
    pooled = {f"pool {k + 1}": stack_layers[3 * k + 2].field for k in range(4)}
    numbers = {"one, two, three 3 x 3": [layer.field[0] for layer in three_convs]}
    return Result(
        numbers | {name: field[0] for name, field in pooled.items()},
        grids.nested_windows(image, {"3 x 3 and 3 x 3": stack_layers[1].field, **pooled}),
    )


def pooling(setting: Setting) -> Result:
    """Max, average and L2 pooling.

    Pooling makes a map smaller: it replaces each window by one value, its maximum, its mean, or the root of the sum of
    its squares. Nothing is learned. Max pooling keeps whether a feature was found in the window, but not where.
    """
    values = torch.tensor([[1.0, 3.0, 0.0, 2.0], [4.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 4.0], [0.0, 5.0, 0.0, 0.0]])
    layers = {"max": MaxPool2d(2), "average": AvgPool2d(2), "L2": LpPool2d(2)}
    pooled = {name: apply_layer(layer, values) for name, layer in layers.items()}
    numbers = {name: y.tolist() for name, y in pooled.items()}
    return Result(
        {"input": values.tolist(), **numbers}, grids.matrix_panels({"input": values, **pooled}, {"input": (0, 0, 2)})
    )


def dilated(setting: Setting) -> Result:
    """Dilated convolution.

    A dilation D leaves out D - 1 pixels between the pixels of a window, so K weights span D (K - 1) + 1 pixels: a
    larger receptive field with the same number of weights. The output has the same size as for a kernel of this span:
    (W - D (K - 1) - 1 + 2 P)/S + 1. For a row of 10 pixels and K = 3, the output has 8 values, and 6 with D = 2.
    """
    params, masks = {"weight": torch.ones(1, 1, 3, 3)}, dict[str, Tensor]()
    for dilation in (1, 2, 4):
        layer = Conv2d(1, 3, dilation=dilation, bias=False)
        y, cache = layer.forward(params, torch.zeros(1, 1, 9, 9), Mode())
        dy, centre = torch.zeros_like(y), y.shape[2] // 2
        dy[..., centre, centre] = 1.0  # the gradient of one output marks the pixels that it depends on
        masks[f"D = {dilation}"] = layer.pull(params, cache, dy)[0, 0]
    numbers = {"10 pixels, K 3": {f"D {d}": output_size(10, 3, dilation=d) for d in (1, 2, 4)}}
    return Result(numbers | {"pixels read": [int(mask.sum()) for mask in masks.values()]}, grids.cell_masks(masks))


def transposed(setting: Setting) -> Result:
    """Transposed convolution.

    In a transposed convolution, each pixel of the input multiplies the kernel, and these scaled kernels are added at
    positions S pixels apart, so W pixels become S (W - 1) + K. This is how the backward pass of a convolution with the
    same kernel computes dx. Networks use it, with learned weights, to enlarge maps.
    """
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    output = apply_layer(ConvTranspose2d(1, 3, stride=2, bias=False), image, kernel)  # (5, 5)
    layer, params = Conv2d(1, 3, stride=2, bias=False), {"weight": kernel[None, None]}
    _, cache = layer.forward(params, output[None, None], Mode())
    dx = layer.pull(params, cache, image[None, None])[0, 0]
    numbers = {"output": output.tolist(), "equals dx of the convolution": torch.equal(dx, output)}
    return Result(numbers, grids.matrix_panels({"input": image, "kernel": kernel, "output, S = 2": output}))


STEPS = (sliding, filters, sizes, weights, fields, pooling, dilated, transposed)
