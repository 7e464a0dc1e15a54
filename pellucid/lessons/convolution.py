"""Convolution.

A convolutional layer slides small kernels over an image. At each position it multiplies the kernel by the pixels under
it and sums the products, which gives one value of the output. The same few weights are used at every position. The
photo is one of scikit-learn's sample images.
"""

import torch
from scipy.signal import correlate2d
from sklearn.datasets import load_sample_image
from torch import Tensor

from pellucid.layers import AvgPool2d, Conv2d, ConvTranspose2d, LpPool2d, MaxPool2d
from pellucid.layers.base import Layer, Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.models import alexnet
from pellucid.network.counts import counts, output_size, read_layers, receptive_field
from pellucid.report.figures import grids

EDGES = ((-1.0, 0.0, 1.0),) * 3
VERTICAL_EDGES = torch.tensor(EDGES)  # positive where the image gets brighter to the right
CORNER = torch.ones(5, 5)  # the upper left corner of a bright square
CORNER[2:, 2:] = 8.0
WAYS = {"stride 1": (1, 0, 1), "stride 2, padding 1": (2, 1, 1), "dilation 2, padding 1": (1, 1, 2)}  # to slide
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


def sliding(settings: LessonSettings) -> Result:
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


def motion(settings: LessonSettings, position: int = 1, way: str = "stride 1", kernel: NumberRows = EDGES) -> Result:
    """One position at a time.

    The picture has 5 x 5 pixels, 1 where it is dark and 8 where it is bright. At each position the nine pixels under
    the kernel are multiplied by its nine weights, and the sum of the nine products is one value of the output. The
    kernel has nine positions in each of three ways to slide:

    - with a stride of 1 it moves by one pixel, and stays inside the picture;
    - with a stride of 2 it moves by two pixels. The padding, a border of zeros, gives it more positions;
    - with a dilation of 2 it reads every second pixel: nine pixels of a window of 5 x 5.
    """
    weight = torch.tensor(kernel, dtype=torch.float32)
    stride, padding, dilation = WAYS[way]
    padded = torch.nn.functional.pad(CORNER, (padding, padding, padding, padding))
    layer = Conv2d(1, 3, stride=stride, padding=padding, dilation=dilation, bias=False)
    output = apply_layer(layer, CORNER, weight)  # (3, 3)
    row, column = divmod(position - 1, 3)
    top, left = stride * row, stride * column
    pixels = padded[top : top + 2 * dilation + 1 : dilation, left : left + 2 * dilation + 1 : dilation]  # (3, 3)
    products = pixels * weight + 0.0  # -0 becomes 0
    so_far = torch.where(torch.arange(9).view(3, 3) < position, output, torch.nan)
    panels = {"picture": padded, "under the kernel": pixels, "kernel": weight, "products": products}
    figure = grids.matrix_panels({**panels, f"sum: {products.sum():g}": so_far})
    for k in range(9):
        pixel_row, pixel_column = divmod(k, 3)
        grids.draw_window(figure.axes[0], top + dilation * pixel_row, left + dilation * pixel_column, (1, 1))
    grids.draw_window(figure.axes[-1], row, column, (1, 1))
    numbers = {"products": products.tolist(), "their sum": products.sum().item(), "output": output.tolist()}
    return Result(numbers, figure)


def filters(settings: LessonSettings) -> Result:
    """What kernels find.

    The weights decide what the output shows. Equal weights blur. Weights that add up to 0 have the output 0 on uniform
    areas: they find edges of one direction, or of all directions. A network learns such weights from its data.
    """
    laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    kernels = {
        "blur": torch.full((3, 3), 1 / 9),
        "sharpen": torch.tensor([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]),
        "vertical edges": VERTICAL_EDGES,
        "horizontal edges": VERTICAL_EDGES.T,
        "all edges": laplacian,
    }
    image, layer = photo(), Conv2d(1, 3, padding=1, bias=False)
    outputs = {name: apply_layer(layer, image, kernel) for name, kernel in kernels.items()}
    inner_outputs = {name: y[1:-1, 1:-1] for name, y in outputs.items()}  # without the padding of zeros at the edges
    numbers = {name: y.abs().mean().item() for name, y in inner_outputs.items()}
    figure = grids.image_panels(
        {"photo": image[1:-1, 1:-1], **inner_outputs}, maps=[name for name in kernels if "edges" in name]
    )
    weights_by_name = {name: kernel.tolist() for name, kernel in kernels.items()}
    return Result({"mean of |output|": numbers, "kernel": weights_by_name}, figure)


def sizes(settings: LessonSettings, kernel: int = 3, stride: int = 1, padding: int = 0) -> Result:
    """The size of the output.

    A kernel of K pixels fits W - K + 1 times into a row of W pixels. P zeros at both ends add 2 P positions, and a
    stride S uses every S-th position: O = (W - K + 2 P)/S + 1, rounded down. The first layer of AlexNet has W = 227,
    K = 11 and S = 4: 55 positions. Padding of (K - 1)/2 keeps the size if S is 1. The figure shows a row of 7 pixels
    in grey, zeros around it in white, and the pixels in each window: first for the chosen values, then for three cases.
    """
    settings_text = f"K {kernel}"
    if stride > 1:
        settings_text += f", S {stride}"
    if padding > 0:
        settings_text += f", P {padding}"
    cases = {settings_text: (kernel, stride, padding)}
    cases |= {"K 3, P 1": (3, 1, 1), "K 3, S 2": (3, 2, 0), "K 3, S 3, P 1": (3, 3, 1)}
    numbers = {name: output_size(7, *case) for name, case in cases.items()}
    windows = {
        f"{name}: {numbers[name]} position{'s' if numbers[name] > 1 else ''}": (7, p, k, range(-p, 8 + p - k, s))
        for name, (k, s, p) in cases.items()
    }
    return Result({"7 pixels": numbers, "227, K 11, S 4": output_size(227, 11, 4)}, grids.convolution_rows(windows))


def weights(settings: LessonSettings) -> Result:
    """Weights and multiply-adds.

    A filter has one weight for each pixel of its window and each channel of its input (a colour image has three), and
    one bias. Its output is called a feature map, or map. AlexNet's first layer has 96 filters of 11 x 11 x 3: 34,848
    weights and 96 biases. Twenty filters of 5 x 5 on a grey image have 520 parameters, one 45th of the 23,550 of a
    dense layer from 784 pixels to 30 units. A second layer of 10 filters has (20 · 25 + 1) · 10 = 5,010 parameters. The
    number (25 + 1) · 10 = 260, which is often stated, ignores that each filter has weights for all 20 input maps. A
    layer of 7 x 7 from c to c maps has 49 c² weights; three layers of 3 x 3, whose outputs depend on as many pixels,
    have 27 c².

    The figure shows AlexNet, and how many multiply-adds, products that are added, each layer computes for an image.
    Convolutions have few of the weights, since they reuse them at every position, but nearly all multiply-adds; the
    dense layers have most of the weights.
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


def fields(settings: LessonSettings) -> Result:
    """Receptive fields.

    The pixels that a value depends on are its receptive field. A value of the first layer depends on 3 x 3 pixels. A
    value of the second layer depends on 3 x 3 values of the first, and therefore on 5 x 5 pixels; after three such
    layers, it depends on 7 x 7 pixels. Pooling with stride 2 doubles the number of pixels that each later layer adds.
    The figure shows the receptive field of the middle unit of each layer on the photo.
    """
    stack_code = ", ".join(["Conv2d(1, 3), Conv2d(1, 3), MaxPool2d(2)"] * 4)
    stack_layers = receptive_field(read_layers(stack_code))
    three_convs = receptive_field(read_layers(", ".join(["Conv2d(1, 3)"] * 3)))
    image = photo()[20:180, 80:240]
    pooled = {f"pool {k + 1}": stack_layers[3 * k + 2].field for k in range(4)}
    numbers = {"one, two, three 3 x 3": [layer.field[0] for layer in three_convs]}
    return Result(
        numbers | {name: field[0] for name, field in pooled.items()},
        grids.nested_windows(image, {"3 x 3 and 3 x 3": stack_layers[1].field, **pooled}),
    )


def pooling(settings: LessonSettings) -> Result:
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


def dilated(settings: LessonSettings) -> Result:
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


def transposed(settings: LessonSettings, pixels: int = 4, stride: int = 2) -> Result:
    """Transposed convolution.

    In a transposed convolution, each pixel of the input multiplies the kernel, and these scaled kernels are added at
    positions S pixels apart, so W pixels become S (W - 1) + K. This is how the backward pass of a convolution with the
    same kernel computes dx, the gradient of its input. Networks use it, with learned weights, to enlarge maps.
    """
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    added = torch.where(torch.arange(4).view(2, 2) < pixels, image, 0.0)
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    output = apply_layer(ConvTranspose2d(1, 3, stride=stride, bias=False), added, kernel)  # (5, 5) for stride 2
    layer, params = Conv2d(1, 3, stride=stride, bias=False), {"weight": kernel[None, None]}
    _, cache = layer.forward(params, output[None, None], Mode())
    dx = layer.pull(params, cache, added[None, None])[0, 0]
    numbers = {"output": output.tolist(), "equals dx of the convolution": torch.equal(dx, output)}
    row, column = divmod(pixels - 1, 2)
    pixel = image[row, column]
    title = f"output, S = {stride}"
    windows = {"input": (row, column, 1), title: (stride * row, stride * column, 3)}
    panels = {"input": image, "kernel": kernel, f"{pixel:g} x kernel": pixel * kernel, title: output}
    return Result(numbers, grids.matrix_panels(panels, windows))


STEPS = (sliding, motion, filters, sizes, weights, fields, pooling, dilated, transposed)
GUIDE = Guide(
    question="A network sees only numbers. How can nine of them find an edge anywhere in a photo?",
    minutes=25,
    needs=("neuron",),
    guesses={
        "sliding": Guess(
            "The kernel has -1 in its left column, 0 in the middle, 1 on the right. Where is its output largest?",
            ("where it is brightest", "where it gets brighter to the right", "where it gets darker to the right"),
            1,
            "Right minus left is large only if the right is brighter. On an area of one brightness, however bright, "
            "the positive and the negative products cancel and the sum is 0.",
        ),
        "sizes": Guess(
            "A window of 3 pixels slides over a row of 7 pixels, one pixel at a time. How many positions has it?",
            ("7", "5", "4"),
            1,
            "The window begins at pixel 1, 2, 3, 4 or 5. If it began at pixel 6, it would end outside of the row.",
        ),
        "transposed": Guess(
            "Each of 2 x 2 pixels adds a copy of a 3 x 3 kernel, two pixels apart. How large is the output?",
            ("4 x 4", "5 x 5", "6 x 6"),
            1,
            "The copies begin at 0 and 2, and the second ends after 2 + 3 = 5 pixels. They share the middle row and "
            "column.",
        ),
    },
    sliders={
        "motion": (
            Slider(
                "position",
                "position of the kernel, row by row",
                (1, 2, 3, 4, 5, 6, 7, 8, 9),
                {
                    7: "With a stride of 1, all three rows cross the edge: three times 8 - 1.",
                    9: "With a stride of 1, every pixel is bright, and yet the sum is 0.",
                },
            ),
            Slider(
                "way",
                "way to slide",
                ("stride 1", "stride 2, padding 1", "dilation 2, padding 1"),
                {"stride 2, padding 1": "The zeros are darker than 1, so the border looks like an edge."},
            ),
        ),
        "sizes": (
            Slider("kernel", "width K of the window", (3, 5)),
            Slider("stride", "stride S", (1, 2, 3), {3: "With K = 3 and P = 0, no window reads the last pixel."}),
            Slider(
                "padding", "padding P, zeros at each end", (0, 1, 2), {2: "With K = 5 and S = 1 this keeps 7 values."}
            ),
        ),
        "transposed": (
            Slider("pixels", "pixels of the input added so far", (1, 2, 3, 4), {1: "One pixel: the kernel times 1."}),
            Slider("stride", "stride S", (1, 2, 3), {3: "The copies touch but do not overlap."}),
        ),
    },
    notices={
        "sliding": (
            "At step 1 the right column of the window is bright and its left column is dark: 21. At step 2 it is "
            "still on the edge: 18. Where the window leaves the bright post on its right, values are negative.",
        ),
        "motion": (
            "Move the kernel with a stride of 1. Its first two columns of positions lie on the edge of the square, "
            "and the sum grows by 7 with each row that crosses it. In the last column nothing changes: the sum is 0.",
            "With the stride of 2 the outlines move by two cells; with the dilation of 2 they lie apart, in a window "
            "as large as the picture. Which kernel finds the upper edge? Drag its upper row to -1, its lower row to 1.",
        ),
        "filters": (
            "The filter of vertical edges shows the posts, and that of horizontal edges the lines of the roof. Blue is "
            "positive and ochre negative: the two sides of the building have opposite signs.",
        ),
        "sizes": (
            "Every orange bar is one position, and gives one value. A stride of 2 leaves out every second bar; "
            "padding lets bars begin in the white cells outside of the row.",
        ),
        "weights": (
            "Compare the two columns of bars. The longest bars of weights belong to the dense layers at the bottom, "
            "the longest bars of multiply-adds to the convolutions above them.",
        ),
        "fields": (
            "Each pooling more than doubles the side: 6, 16, 36, 76. The units of the last map see a large part of the "
            "building, although no kernel is larger than 3 x 3.",
        ),
        "pooling": (
            "The orange outline is the first window, with 1, 3, 4 and 0. Its maximum is 4 and its mean is 2. If the 4 "
            "and the 3 change places, the first value of all three outputs stays the same: where it was is forgotten.",
        ),
        "dilated": (
            "Count the coloured cells: nine in every picture, so nine weights. Only the distance between them grows, "
            "and with it the window: 3 x 3, 5 x 5, 9 x 9.",
        ),
        "transposed": (
            "Add one pixel after the other. Each stamps the kernel, times its own value, into the outlined window. "
            "Where two windows overlap, the values are added.",
            "Change the stride: it is now the distance between the stamps, so a larger stride makes the output "
            "larger. In a convolution it makes the output smaller.",
        ),
    },
    notice_plots={"motion": ((0, 4), (0,)), "filters": ((3, 4),)},
    exercises=(
        Exercise(
            "A row of 32 pixels, a window of 5, a stride of 2 and 2 zeros at each end. How many values has the output?",
            16,
            0.1,
            "(32 - 5 + 2 · 2)/2 = 31/2, rounded down 15; the first position makes 16.",
            {
                14: "That is the output without padding.",
                15: "The window moves 15 times; its first position counts, too.",
                16.5: "31/2 = 15.5 is rounded down: the window must fit completely.",
                17: "31/2 = 15.5 is rounded down: the window must fit completely.",
            },
        ),
        Exercise(
            "A layer has 16 filters of 3 x 3 on a colour image of 3 channels, and a bias for each filter. How many "
            "parameters are these?",
            448,
            0.5,
            "Each filter has 3 · 3 · 3 = 27 weights and a bias; 16 · 28 = 448.",
            {
                432: "The biases are missing.",
                160: "Each filter has nine weights for each of the three channels.",
            },
        ),
        Exercise(
            "Two layers of 3 x 3 follow each other, both with dilation 2 and stride 1. How many pixels wide is the "
            "receptive field of one output value?",
            9,
            0.1,
            "Each layer spans 5 pixels and so adds 4: 1 + 4 + 4 = 9.",
            {5: "That is the field of the first layer alone.", 10: "The second window overlaps the first: it adds 4."},
        ),
    ),
    handles={"motion": Handles("kernel", "the numbers of the kernel", "cells", EDGES, -9, 9, 1, plot=2)},
    functions={
        "cross_correlation": FunctionExercise(
            "cross_correlation(image, kernel): the output of a kernel (h, w) at all positions inside an image (H, W), "
            "with stride 1 and without padding: (H - h + 1, W - w + 1).",
            lambda image, kernel: correlate2d(image, kernel, "valid"),
            lambda random: (random.normal(size=(6, 7)), random.normal(size=(3, 2))),
            """def cross_correlation(image, kernel):
    height, width = kernel.shape
    output = np.zeros((image.shape[0] - height + 1, image.shape[1] - width + 1))
    for row, column in np.ndindex(output.shape):
        window = image[row : row + height, column : column + width]
        output[row, column] = np.sum(window * kernel)
    return output""",
        )
    },
    later=(
        "Detectors, segmentation and almost all networks for images are stacks of such layers, whose kernels are "
        "learned."
    ),
    studio="#inspect",
)
