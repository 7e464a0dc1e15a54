"""Publishers of weights for each network, with their layer names and input scaling."""

import re
from collections.abc import Collection, Iterator

from pellucid.combine.base import Combinator, walk
from pellucid.layers import Conv2d
from pellucid.models import MODELS, features, head, inception_v3, squeezenet1_1
from pellucid.models.mobilenet import STAGES
from pellucid.weights.names.naming import (
    KERAS_DIALECT,
    ONNX_DIALECT,
    TORCH_DIALECT,
    InputScaling,
    Naming,
    any_of,
    conv_or_norm_path,
    path_rules,
    path_table,
)

_LAYER_NAMES = {"conv": "conv", "bn": "norm", "convolution": "conv", "normalization": "norm"}


def _numbered_paths(model: str) -> dict[str, str]:
    """Return Pellucid's paths by torchvision's and timm's layer names of AlexNet and VGG.

    torchvision numbers all layers: "features.0", "classifier.6"; "classifier.0" is the first layer after `flatten`.
    timm names the dense layers "pre_logits.fc1", "pre_logits.fc2" and "head.fc".
    """
    net = MODELS[model]()
    feature_paths = [path for path, layer in walk(features(net)) if not isinstance(layer, Combinator)]
    head_paths = [path for path, layer in walk(head(net)) if not isinstance(layer, Combinator)]
    head_paths = head_paths[head_paths.index("flatten") + 1 :]
    return {
        **{f"features.{index}": f"features.{path}" for index, path in enumerate(feature_paths)},
        **{f"classifier.{index}": f"head.{path}" for index, path in enumerate(head_paths)},
        "pre_logits.fc1": "head.dense1",
        "pre_logits.fc2": "head.dense2",
        "head.fc": "head.scores",
    }


# Rules for each family and library. The files of ONNX's model zoo have Caffe's and Caffe2's names.
NUMBERED_LAYERS = path_table(_numbered_paths)
ALEXNET_ONNX = path_rules(
    (r"conv([1-5])", r"features.conv\1"), (r"fc6", "head.dense1"), (r"fc7", "head.dense2"), (r"fc8", "head.scores")
)
VGG_KERAS = path_rules(
    (r"block(\d)_conv(\d)", r"features.block\1.conv\2"), (r"fc([12])", r"head.dense\1"), (r"predictions", "head.scores")
)

_BRANCHES_TORCH = {
    "1": "branch1x1.conv", "2.0": "branch3x3.reduce", "2.1": "branch3x3.conv", "3.0": "branch5x5.reduce",
    "3.1": "branch5x5.conv", "4.1": "branch_pool.conv",
}  # fmt: skip
_BRANCHES_ONNX = {
    "1x1": "branch1x1.conv", "3x3_reduce": "branch3x3.reduce", "3x3": "branch3x3.conv",
    "5x5_reduce": "branch5x5.reduce", "5x5": "branch5x5.conv", "pool_proj": "branch_pool.conv",
}  # fmt: skip
GOOGLENET_TORCH = path_rules(  # "conv1.bn", "inception3a.branch2.0.conv", "aux1.fc1"
    (
        rf"(inception\d[a-e])\.branch({any_of(_BRANCHES_TORCH)})\.(conv|bn)",
        lambda block, branch, kind: f"features.{block}.{conv_or_norm_path(_BRANCHES_TORCH[branch], kind)}",
    ),
    (r"(conv[1-3])\.(conv|bn)", lambda name, kind: f"features.{conv_or_norm_path(name, kind)}"),
    (r"aux([12])\.conv\.(conv|bn)", lambda index, kind: f"head.auxiliary{index}.{_LAYER_NAMES[kind]}"),
    (r"aux([12])\.fc1", r"head.auxiliary\1.dense"),
    (r"aux([12])\.fc2", r"head.auxiliary\1.scores"),
    (r"fc", "head.scores"),
)
GOOGLENET_ONNX = path_rules(  # "inception_3a/3x3_reduce"
    (
        rf"inception_(\d[a-e])/({any_of(_BRANCHES_ONNX)})",
        lambda block, branch: f"features.inception{block}.{_BRANCHES_ONNX[branch]}",
    ),
    (r"conv1/7x7_s2", "features.conv1"),
    (r"conv2/3x3_reduce", "features.conv2"),
    (r"conv2/3x3", "features.conv3"),
    (r"loss3/classifier", "head.scores"),
)

_STEM_PATHS = {"1a_3x3": "conv1", "2a_3x3": "conv2", "2b_3x3": "conv3", "3b_1x1": "conv4", "4a_3x3": "conv5"}
_END_PATHS = {"a": "ends.wide.conv", "b": "ends.tall.conv"}


def _mixed_path(block: str, branch: str, conv_number: str | None, kernel_letter: str | None, kind: str) -> str:
    """Return the path of a convolution or norm in an Inception block, from a match of INCEPTION_TORCH."""
    if kernel_letter:
        name = _END_PATHS[kernel_letter]
    elif branch == "branch_pool":  # it has one convolution, other branches number theirs
        name = "conv"
    else:
        name = f"conv{conv_number or 1}"
    return f"features.mixed{block}.{branch.replace('dbl', 'double')}.{conv_or_norm_path(name, kind)}"


def _inception_keras(model: str, layers: Collection[str]) -> dict[str, str]:
    """Return Pellucid's paths by Keras' names: "conv2d_94", "batch_normalization_94", "predictions".

    Keras numbers all convolutions and norms in the order of their creation, which is also the order in Pellucid's
    network. The first number depends on the file: 1 in the published file, none or a larger one in others.
    """
    convolutions = [f"features.{path}" for path, layer in walk(features(inception_v3())) if isinstance(layer, Conv2d)]
    paths = {"predictions": "head.scores"}
    for kind, name in (("conv", "conv2d"), ("bn", "batch_normalization")):
        pattern = re.compile(rf"{name}(_\d{{1,9}})?")
        numbers = {int(layer.removeprefix(name)[1:] or 0): layer for layer in layers if pattern.fullmatch(layer)}
        first_number = min(numbers, default=0)
        paths |= {
            layer: conv_or_norm_path(convolutions[number - first_number], kind)
            for number, layer in numbers.items()
            if number - first_number < len(convolutions)
        }
    return {layer: path for layer, path in paths.items() if layer in layers}


INCEPTION_TORCH = path_rules(  # "Mixed_7b.branch3x3_2a.conv", "Conv2d_1a_3x3.bn"
    (r"Mixed_([5-7][a-e])\.(branch(?:_pool|\dx\d(?:dbl|x\d)?))(?:_(\d)([ab])?)?\.(conv|bn)", _mixed_path),
    (
        rf"Conv2d_({any_of(_STEM_PATHS)})\.(conv|bn)",
        lambda stem, kind: f"features.{conv_or_norm_path(_STEM_PATHS[stem], kind)}",
    ),
    (
        r"AuxLogits\.conv([01])\.(conv|bn)",
        lambda index, kind: f"head.auxiliary.{conv_or_norm_path(f'conv{int(index) + 1}', kind)}",
    ),
    (r"AuxLogits\.fc", "head.auxiliary.scores"),
    (r"fc", "head.scores"),
)


def _residual_path(stage: int, block: int, kind: str, number: int | None = None) -> str:
    """Return the path of a convolution or norm in a residual block: body layer `number`, or the shortcut for None."""
    inner = f"shortcut.{_LAYER_NAMES[kind]}" if number is None else f"body.{_LAYER_NAMES[kind]}{number}"
    return f"features.stage{stage}.block{block}.residual.{inner}"


# In the rules of ResNets: s, b, n are the stage, the block and the number of a layer in it.
RESNET_TORCH = path_rules(  # "layer1.0.bn2", "layer2.0.downsample.0"
    (r"layer(\d)\.(\d{1,3})\.(conv|bn)(\d)", lambda s, b, kind, n: _residual_path(int(s), int(b) + 1, kind, int(n))),
    (r"layer(\d)\.(\d{1,3})\.downsample\.0", lambda s, b: _residual_path(int(s), int(b) + 1, "conv")),
    (r"layer(\d)\.(\d{1,3})\.downsample\.1", lambda s, b: _residual_path(int(s), int(b) + 1, "bn")),
    (r"(conv|bn)1", lambda kind: f"features.stem.{_LAYER_NAMES[kind]}"),
    (r"fc", "head.scores"),
)
RESNET_KERAS = path_rules(  # "conv2_block1_1_conv", "conv2_block1_0_bn" (the shortcut's)
    (
        r"conv([2-5])_block(\d{1,3})_([0-3])_(conv|bn)",
        lambda s, b, n, kind: _residual_path(int(s) - 1, int(b), kind, int(n) or None),
    ),
    (r"conv1_(conv|bn)", lambda kind: f"features.stem.{_LAYER_NAMES[kind]}"),
    (r"probs|predictions", "head.scores"),
)
_STAGE = r"resnet\.encoder\.stages\.(\d)\.layers\.(\d{1,3})"
RESNET_TRANSFORMERS = path_rules(  # "resnet.encoder.stages.0.layers.1.layer.0.convolution"
    (
        _STAGE + r"\.layer\.(\d)\.(convolution|normalization)",
        lambda s, b, n, kind: _residual_path(int(s) + 1, int(b) + 1, kind, int(n) + 1),
    ),
    (
        _STAGE + r"\.shortcut\.(convolution|normalization)",
        lambda s, b, kind: _residual_path(int(s) + 1, int(b) + 1, kind),
    ),
    (r"resnet\.embedder\.embedder\.(convolution|normalization)", lambda kind: f"features.stem.{_LAYER_NAMES[kind]}"),
    (r"classifier\.1", "head.scores"),
)
RESNET_ONNX = path_rules(  # "res_conv1_bn", "res2_0_branch2a", "res2_0_branch1_bn"
    (
        r"res([2-5])_(\d{1,3})_branch(?:1|2([abc]))(_bn)?",
        lambda s, b, letter, norm: _residual_path(
            int(s) - 1, int(b) + 1, "bn" if norm else "conv", "abc".index(letter) + 1 if letter else None
        ),
    ),
    (r"conv1", "features.stem.conv"),
    (r"res_conv1_bn", "features.stem.norm"),
    (r"pred", "head.scores"),
)

_ADDED_PATHS = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}
DENSENET_TORCH = path_rules(  # "denselayer1.norm1", in the older published file "denselayer1.norm.1"
    (
        r"features\.denseblock(\d)\.denselayer(\d{1,3})\.(norm|conv)\.?([12])",
        r"features.block\1.layer\2.added.\3\4",
    ),
    (r"features\.transition(\d)\.(norm|conv)", r"features.transition\1.\2"),
    (r"(?:features\.)?(norm|conv)0", r"features.stem.\1"),
    (r"(?:features\.)?norm5", "features.norm"),
    (r"classifier", "head.scores"),
)
DENSENET_KERAS = path_rules(  # "conv1/conv" or "conv1_conv", "conv2_block1_0_bn", "pool2_conv"
    (
        rf"conv([2-5])_block(\d{{1,3}})_({any_of(_ADDED_PATHS)})",
        lambda block, layer, inner: f"features.block{int(block) - 1}.layer{layer}.added.{_ADDED_PATHS[inner]}",
    ),
    (r"pool([2-4])_(conv|bn)", lambda index, kind: f"features.transition{int(index) - 1}.{_LAYER_NAMES[kind]}"),
    (r"conv1[/_](conv|bn)", lambda kind: f"features.stem.{_LAYER_NAMES[kind]}"),
    (r"bn", "features.norm"),
    (r"fc1000|predictions", "head.scores"),
)

# MobileNetV2's 17 blocks in order: Pellucid's paths, and timm's indices (stage, block).
_TIMM_BLOCKS = [(stage, block) for stage, (_, _, n_blocks, _) in enumerate(STAGES) for block in range(n_blocks)]
_BLOCK_PATHS = [f"stage{stage + 1}.block{block + 1}" for stage, block in _TIMM_BLOCKS]


def _block_convolutions() -> Iterator[tuple[int, int, str, str]]:
    """Yield each convolution of the blocks: the block's index, the convolution's index in it, its name and its path."""
    for index, block in enumerate(_BLOCK_PATHS):
        # The first block does not expand.
        names = ("expand", "depthwise", "project")[1 if index == 0 else 0 :]
        for conv_index, name in enumerate(names):
            yield index, conv_index, name, f"features.{block}.body.{name}"


def _mobilenet_torch() -> dict[str, str]:
    """Return Pellucid's paths by torchvision's names: "features.0.0", "features.2.conv.1.0", "classifier.1".

    In a block, each convolution except the last is item 0 of its own Sequential (convolution, norm, ReLU6); the last
    convolution and its norm are direct items of the block.
    """
    last = len(_BLOCK_PATHS) + 1
    paths = {"features.0.0": "features.stem.conv", "features.0.1": "features.stem.norm", "classifier.1": "head.scores"}
    paths |= {f"features.{last}.0": "features.last.conv", f"features.{last}.1": "features.last.norm"}
    for index, conv_index, name, path in _block_convolutions():
        block = f"features.{index + 1}.conv"
        conv_name, norm_name = f"{conv_index}.0", f"{conv_index}.1"
        if name == "project":
            conv_name, norm_name = f"{conv_index}", f"{conv_index + 1}"
        paths |= {f"{block}.{conv_name}": path, f"{block}.{norm_name}": f"{path}_norm"}
    return paths


def _mobilenet_timm() -> dict[str, str]:
    """Return Pellucid's paths by timm's names: "conv_stem", "blocks.0.0.conv_dw", "blocks.1.0.bn3", "conv_head"."""
    paths = {"conv_stem": "features.stem.conv", "bn1": "features.stem.norm", "classifier": "head.scores"}
    paths |= {"conv_head": "features.last.conv", "bn2": "features.last.norm"}
    for index, conv_index, name, path in _block_convolutions():
        stage, block = _TIMM_BLOCKS[index]
        expands = index > 0
        kind = {"expand": "pw", "depthwise": "dw", "project": "pwl" if expands else "pw"}[name]
        prefix = f"blocks.{stage}.{block}"
        paths |= {f"{prefix}.conv_{kind}": path, f"{prefix}.bn{conv_index + 1}": f"{path}_norm"}
    return paths


def _mobilenet_path(index: str | None, name: str, norm: str | None) -> str | None:
    """Return the path of a convolution, or of its norm, in block `index`; None if there is no such block."""
    block_number = int(index or 0)
    suffix = "_norm" if norm else ""
    return f"features.{_BLOCK_PATHS[block_number]}.body.{name}{suffix}" if block_number < len(_BLOCK_PATHS) else None


MOBILENET_TORCH = path_table(lambda model: _mobilenet_torch())
MOBILENET_TIMM = path_table(lambda model: _mobilenet_timm())
MOBILENET_KERAS = path_rules(  # "expanded_conv_project_BN", "block_1_expand"
    (r"(?:expanded_conv|block_(\d{1,3}))_(expand|depthwise|project)(_BN)?", _mobilenet_path),
    (r"Conv1", "features.stem.conv"),
    (r"bn_Conv1", "features.stem.norm"),
    (r"Conv_1", "features.last.conv"),
    (r"Conv_1_bn", "features.last.norm"),
    (r"Logits|predictions", "head.scores"),
)

_FIRE_PATHS = {"squeeze": "squeeze", "expand1x1": "expand.expand1x1", "expand3x3": "expand.expand3x3"}


def _squeezenet_torch() -> dict[str, str]:
    """Return Pellucid's paths by torchvision's names: "features.3.squeeze", "classifier.1", which count all layers."""
    paths = [path for path, _ in walk(features(squeezenet1_1())) if path and "." not in path]
    module_paths = {f"features.{index}": f"features.{path}" for index, path in enumerate(paths)}
    inner_paths = {
        f"{name}.{part}": f"{path}.{inner_path}"
        for name, path in module_paths.items()
        for part, inner_path in _FIRE_PATHS.items()
    }
    return {**module_paths, **inner_paths, "classifier.1": "head.scores"}


SQUEEZENET_TORCH = path_table(lambda model: _squeezenet_torch())
SQUEEZENET_ONNX = path_rules(  # "fire2/squeeze1x1"
    (rf"(fire\d)/({any_of(_FIRE_PATHS)})(?:1x1)?", lambda fire, part: f"features.{fire}.{_FIRE_PATHS[part]}"),
    (r"conv1", "features.conv1"),
    (r"conv10", "head.scores"),
)


_IMAGENET = InputScaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = InputScaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to -1..1, as in TensorFlow
_CAFFE = InputScaling((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255), "BGR")


_VGG = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_KERAS_RESNETS = {"epsilon": 1.001e-5, "stride_first": True}
_TORCHVISION = "torchvision"
_TIMM = "timm"
_KERAS = "Keras Applications"
_BOTH = "torchvision or timm"  # which use the same names
_ONNX = "ONNX's model zoo"
_TRANSFORMERS = "Hugging Face transformers"

NAMINGS = (
    Naming(_TORCHVISION, ("alexnet",), TORCH_DIALECT, NUMBERED_LAYERS, _IMAGENET, n_flattened_maps=256),
    Naming(
        _ONNX, ("alexnet",), ONNX_DIALECT, ALEXNET_ONNX, None, model_arguments={"original": True}, n_flattened_maps=256
    ),
    Naming(_BOTH, _VGG, TORCH_DIALECT, NUMBERED_LAYERS, _IMAGENET, n_flattened_maps=512),
    Naming(_KERAS, ("vgg16", "vgg19"), KERAS_DIALECT, VGG_KERAS, _CAFFE, n_flattened_maps=512),
    # Trained in TensorFlow. torchvision's models first rescale images from ImageNet's normalization to -1..1.
    Naming(_TORCHVISION, ("googlenet",), TORCH_DIALECT, GOOGLENET_TORCH, _HALF),
    Naming(_ONNX, ("googlenet",), ONNX_DIALECT, GOOGLENET_ONNX, None, model_arguments={"original": True}),
    Naming(_BOTH, ("inception_v3",), TORCH_DIALECT, INCEPTION_TORCH, _HALF),
    Naming(
        _KERAS,
        ("inception_v3",),
        KERAS_DIALECT,
        _inception_keras,
        _HALF,
        model_arguments={"count_include_pad": False},
        norms_without_weight=True,
    ),
    Naming(_BOTH, _RESNETS, TORCH_DIALECT, RESNET_TORCH, _IMAGENET),
    Naming(_TRANSFORMERS, _RESNETS, TORCH_DIALECT, RESNET_TRANSFORMERS, _IMAGENET),
    Naming(
        _KERAS,
        ("resnet50", "resnet101", "resnet152"),
        KERAS_DIALECT,
        RESNET_KERAS,
        _CAFFE,
        model_arguments=_KERAS_RESNETS,
    ),
    Naming(_ONNX, ("resnet50",), ONNX_DIALECT, RESNET_ONNX, None),
    Naming(_BOTH, ("densenet121",), TORCH_DIALECT, DENSENET_TORCH, _IMAGENET),
    Naming(_KERAS, ("densenet121",), KERAS_DIALECT, DENSENET_KERAS, _IMAGENET, model_arguments={"epsilon": 1.001e-5}),
    Naming(_TORCHVISION, ("mobilenet_v2",), TORCH_DIALECT, MOBILENET_TORCH, _IMAGENET),
    Naming(_TIMM, ("mobilenet_v2",), TORCH_DIALECT, MOBILENET_TIMM, _IMAGENET),
    Naming(
        _KERAS,
        ("mobilenet_v2",),
        KERAS_DIALECT,
        MOBILENET_KERAS,
        _HALF,
        model_arguments={"epsilon": 1e-3, "pad": "same"},
    ),
    Naming(_TORCHVISION, ("squeezenet1_1",), TORCH_DIALECT, SQUEEZENET_TORCH, _IMAGENET),
    Naming(_ONNX, ("squeezenet1_1",), ONNX_DIALECT, SQUEEZENET_ONNX, None),
)
