"""Names and shapes of the tensors in published files, derived from the original definitions, not from pellucid's."""

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{leaf}": (channels,) for leaf in leaves}, f"{name}.num_batches_tracked": ()}


def conv(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape}


def biased(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def basic_conv(name: str, *shape: int) -> Shapes:
    """Return the shapes of BasicConv2d, a block of GoogLeNet and Inception."""
    return {**conv(f"{name}.conv", *shape), **norm(f"{name}.bn", shape[0])}


def alexnet() -> Shapes:
    sizes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    shapes: Shapes = {}
    for index, shape in sizes.items():
        shapes |= biased(f"features.{index}", *shape)
    for index, rows, columns in ((1, 4096, 9216), (4, 4096, 4096), (6, 1000, 4096)):
        shapes |= biased(f"classifier.{index}", rows, columns)
    return shapes


def vgg(layout: tuple[int | str, ...], with_norm: bool) -> Shapes:
    shapes: Shapes = {}
    index, channels = 0, 3
    for step in layout:
        if isinstance(step, str):
            index += 1
            continue
        shapes |= biased(f"features.{index}", step, channels, 3, 3)
        if with_norm:
            shapes |= norm(f"features.{index + 1}", step)
        index, channels = index + (3 if with_norm else 2), step
    for index, rows, columns in ((0, 4096, 25088), (3, 4096, 4096), (6, 1000, 4096)):
        shapes |= biased(f"classifier.{index}", rows, columns)
    return shapes


VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def timm_vgg16() -> Shapes:
    shapes = {name: shape for name, shape in vgg(VGG16, False).items() if name.startswith("features.")}
    shapes |= biased("pre_logits.fc1", 4096, 512, 7, 7)
    shapes |= biased("pre_logits.fc2", 4096, 4096, 1, 1)
    return shapes | biased("head.fc", 1000, 4096)


def resnet(depths: tuple[int, ...], bottleneck: bool) -> Shapes:
    shapes = {**conv("conv1", 64, 3, 7, 7), **norm("bn1", 64)}
    channels = 64
    for stage, depth in enumerate(depths, start=1):
        width = 64 * 2 ** (stage - 1)
        outputs = 4 * width if bottleneck else width
        for block in range(depth):
            name = f"layer{stage}.{block}"
            if bottleneck:
                sizes = ((width, channels, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1))
            else:
                sizes = ((width, channels, 3, 3), (width, width, 3, 3))
            for number, shape in enumerate(sizes, start=1):
                shapes |= {**conv(f"{name}.conv{number}", *shape), **norm(f"{name}.bn{number}", shape[0])}
            if block == 0 and (stage > 1 or bottleneck):
                shapes |= conv(f"{name}.downsample.0", outputs, channels, 1, 1)
                shapes |= norm(f"{name}.downsample.1", outputs)
            channels = outputs
    return shapes | biased("fc", 1000, channels)


def densenet121(old: bool) -> Shapes:
    """Return the shapes of DenseNet-121; torchvision's file has the old names, with "norm.1" instead of "norm1"."""
    dot = "." if old else ""
    shapes = {**conv("features.conv0", 64, 3, 7, 7), **norm("features.norm0", 64)}
    channels = 64
    for block, depth in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, depth + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            shapes |= {**norm(f"{name}.norm{dot}1", channels), **conv(f"{name}.conv{dot}1", 128, channels, 1, 1)}
            shapes |= {**norm(f"{name}.norm{dot}2", 128), **conv(f"{name}.conv{dot}2", 32, 128, 3, 3)}
            channels += 32
        if block < 4:
            name = f"features.transition{block}"
            shapes |= {**norm(f"{name}.norm", channels), **conv(f"{name}.conv", channels // 2, channels, 1, 1)}
            channels //= 2
    return {**shapes, **norm("features.norm5", channels), **biased("classifier", 1000, channels)}


MOBILENET = [
    (expansion, outputs)
    for expansion, outputs, repeats in (
        (1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1),
    )
    for _ in range(repeats)
]  # fmt: skip


def mobilenet_v2() -> Shapes:
    shapes = {**conv("features.0.0", 32, 3, 3, 3), **norm("features.0.1", 32)}
    channels = 32
    for index, (expansion, outputs) in enumerate(MOBILENET, start=1):
        name, expanded, number = f"features.{index}.conv", channels * expansion, 0
        if expansion > 1:
            shapes |= {**conv(f"{name}.0.0", expanded, channels, 1, 1), **norm(f"{name}.0.1", expanded)}
            number = 1
        shapes |= {**conv(f"{name}.{number}.0", expanded, 1, 3, 3), **norm(f"{name}.{number}.1", expanded)}
        shapes |= {**conv(f"{name}.{number + 1}", outputs, expanded, 1, 1), **norm(f"{name}.{number + 2}", outputs)}
        channels = outputs
    shapes |= {**conv("features.18.0", 1280, 320, 1, 1), **norm("features.18.1", 1280)}
    return shapes | biased("classifier.1", 1000, 1280)


def timm_mobilenet_v2() -> Shapes:
    shapes = {**conv("conv_stem", 32, 3, 3, 3), **norm("bn1", 32)}
    channels = 32
    for stage, repeats in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for block in range(repeats):
            expansion, outputs = MOBILENET[sum((1, 2, 3, 4, 3, 3, 1)[:stage]) + block]
            name, expanded = f"blocks.{stage}.{block}", channels * expansion
            if stage == 0:
                shapes |= {**conv(f"{name}.conv_dw", expanded, 1, 3, 3), **norm(f"{name}.bn1", expanded)}
                shapes |= {**conv(f"{name}.conv_pw", outputs, expanded, 1, 1), **norm(f"{name}.bn2", outputs)}
            else:
                shapes |= {**conv(f"{name}.conv_pw", expanded, channels, 1, 1), **norm(f"{name}.bn1", expanded)}
                shapes |= {**conv(f"{name}.conv_dw", expanded, 1, 3, 3), **norm(f"{name}.bn2", expanded)}
                shapes |= {**conv(f"{name}.conv_pwl", outputs, expanded, 1, 1), **norm(f"{name}.bn3", outputs)}
            channels = outputs
    shapes |= {**conv("conv_head", 1280, 320, 1, 1), **norm("bn2", 1280)}
    return shapes | biased("classifier", 1000, 1280)


def squeezenet1_1() -> Shapes:
    shapes = biased("features.0", 64, 3, 3, 3)
    channels = 64
    fires = {3: (16, 64), 4: (16, 64), 6: (32, 128), 7: (32, 128), 9: (48, 192), 10: (48, 192), 11: (64, 256),
             12: (64, 256)}  # fmt: skip
    for index, (squeeze, expand) in fires.items():
        shapes |= biased(f"features.{index}.squeeze", squeeze, channels, 1, 1)
        shapes |= biased(f"features.{index}.expand1x1", expand, squeeze, 1, 1)
        shapes |= biased(f"features.{index}.expand3x3", expand, squeeze, 3, 3)
        channels = 2 * expand
    return shapes | biased("classifier.1", 1000, 512, 1, 1)


def googlenet() -> Shapes:
    shapes = {**basic_conv("conv1", 64, 3, 7, 7), **basic_conv("conv2", 64, 64, 1, 1)}
    shapes |= basic_conv("conv3", 192, 64, 3, 3)
    blocks = {
        "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }  # fmt: skip
    for block, (inputs, conv1x1, reduce3, conv3x3, reduce5, conv5x5, pooled) in blocks.items():
        name = f"inception{block}"
        shapes |= basic_conv(f"{name}.branch1", conv1x1, inputs, 1, 1)
        shapes |= basic_conv(f"{name}.branch2.0", reduce3, inputs, 1, 1)
        shapes |= basic_conv(f"{name}.branch2.1", conv3x3, reduce3, 3, 3)
        shapes |= basic_conv(f"{name}.branch3.0", reduce5, inputs, 1, 1)
        shapes |= basic_conv(f"{name}.branch3.1", conv5x5, reduce5, 3, 3)
        shapes |= basic_conv(f"{name}.branch4.1", pooled, inputs, 1, 1)
    for name, inputs in (("aux1", 512), ("aux2", 528)):
        shapes |= basic_conv(f"{name}.conv", 128, inputs, 1, 1)
        shapes |= {**biased(f"{name}.fc1", 1024, 2048), **biased(f"{name}.fc2", 1000, 1024)}
    return shapes | biased("fc", 1000, 1024)


def inception_v3() -> Shapes:
    shapes: Shapes = {}
    for name, *shape in (
        ("1a_3x3", 32, 3, 3, 3), ("2a_3x3", 32, 32, 3, 3), ("2b_3x3", 64, 32, 3, 3), ("3b_1x1", 80, 64, 1, 1),
        ("4a_3x3", 192, 80, 3, 3),
    ):  # fmt: skip
        shapes |= basic_conv(f"Conv2d_{name}", *shape)
    for block, inputs, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        name = f"Mixed_{block}.branch"
        shapes |= basic_conv(f"{name}1x1", 64, inputs, 1, 1)
        shapes |= {**basic_conv(f"{name}5x5_1", 48, inputs, 1, 1), **basic_conv(f"{name}5x5_2", 64, 48, 5, 5)}
        shapes |= {**basic_conv(f"{name}3x3dbl_1", 64, inputs, 1, 1), **basic_conv(f"{name}3x3dbl_2", 96, 64, 3, 3)}
        shapes |= {**basic_conv(f"{name}3x3dbl_3", 96, 96, 3, 3), **basic_conv(f"{name}_pool", pooled, inputs, 1, 1)}
    name = "Mixed_6a.branch"
    shapes |= {**basic_conv(f"{name}3x3", 384, 288, 3, 3), **basic_conv(f"{name}3x3dbl_1", 64, 288, 1, 1)}
    shapes |= {**basic_conv(f"{name}3x3dbl_2", 96, 64, 3, 3), **basic_conv(f"{name}3x3dbl_3", 96, 96, 3, 3)}
    for block, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        name = f"Mixed_{block}.branch"
        shapes |= {**basic_conv(f"{name}1x1", 192, 768, 1, 1), **basic_conv(f"{name}7x7_1", c, 768, 1, 1)}
        shapes |= {**basic_conv(f"{name}7x7_2", c, c, 1, 7), **basic_conv(f"{name}7x7_3", 192, c, 7, 1)}
        shapes |= {**basic_conv(f"{name}7x7dbl_1", c, 768, 1, 1), **basic_conv(f"{name}7x7dbl_2", c, c, 7, 1)}
        shapes |= {**basic_conv(f"{name}7x7dbl_3", c, c, 1, 7), **basic_conv(f"{name}7x7dbl_4", c, c, 7, 1)}
        shapes |= {**basic_conv(f"{name}7x7dbl_5", 192, c, 1, 7), **basic_conv(f"{name}_pool", 192, 768, 1, 1)}
    shapes |= {**basic_conv("AuxLogits.conv0", 128, 768, 1, 1), **basic_conv("AuxLogits.conv1", 768, 128, 5, 5)}
    shapes |= biased("AuxLogits.fc", 1000, 768)
    name = "Mixed_7a.branch"
    shapes |= {**basic_conv(f"{name}3x3_1", 192, 768, 1, 1), **basic_conv(f"{name}3x3_2", 320, 192, 3, 3)}
    shapes |= {**basic_conv(f"{name}7x7x3_1", 192, 768, 1, 1), **basic_conv(f"{name}7x7x3_2", 192, 192, 1, 7)}
    shapes |= {**basic_conv(f"{name}7x7x3_3", 192, 192, 7, 1), **basic_conv(f"{name}7x7x3_4", 192, 192, 3, 3)}
    for block, inputs in (("7b", 1280), ("7c", 2048)):
        name = f"Mixed_{block}.branch"
        shapes |= {**basic_conv(f"{name}1x1", 320, inputs, 1, 1), **basic_conv(f"{name}3x3_1", 384, inputs, 1, 1)}
        shapes |= {**basic_conv(f"{name}3x3_2a", 384, 384, 1, 3), **basic_conv(f"{name}3x3_2b", 384, 384, 3, 1)}
        shapes |= {**basic_conv(f"{name}3x3dbl_1", 448, inputs, 1, 1), **basic_conv(f"{name}3x3dbl_2", 384, 448, 3, 3)}
        shapes |= {**basic_conv(f"{name}3x3dbl_3a", 384, 384, 1, 3), **basic_conv(f"{name}3x3dbl_3b", 384, 384, 3, 1)}
        shapes |= basic_conv(f"{name}_pool", 192, inputs, 1, 1)
    return shapes | biased("fc", 1000, 2048)
