"""Who publishes weights of which network, and how they name them."""

from pellucid.weights import inputs
from pellucid.weights.names import alexnet, densenet, googlenet, inception, mobilenet, resnet, squeezenet, vgg
from pellucid.weights.names.dialect import KERAS, ONNX, TORCH
from pellucid.weights.names.naming import Naming

_VGG = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
_BY_TORCHVISION, _BY_TIMM, _BY_KERAS = "torchvision", "timm", "Keras Applications"
_BY_BOTH = "torchvision or timm"  # whose names are the same
_BY_ONNX, _BY_TRANSFORMERS = "ONNX's model zoo", "Hugging Face transformers"

NAMINGS = (
    Naming(_BY_TORCHVISION, ("alexnet",), TORCH, vgg.TORCHVISION, inputs.TORCHVISION, maps=256),
    Naming(_BY_ONNX, ("alexnet",), ONNX, alexnet.ONNX, None, {"original": True}, maps=256),
    Naming(_BY_BOTH, _VGG, TORCH, vgg.TORCHVISION, inputs.TORCHVISION, maps=512),
    Naming(_BY_KERAS, ("vgg16", "vgg19"), KERAS, vgg.KERAS, inputs.KERAS_CAFFE, maps=512),
    Naming(_BY_TORCHVISION, ("googlenet",), TORCH, googlenet.TORCHVISION, inputs.TORCHVISION_GOOGLENET),
    Naming(_BY_ONNX, ("googlenet",), ONNX, googlenet.ONNX, None, {"original": True}),
    Naming(_BY_BOTH, ("inception_v3",), TORCH, inception.TORCHVISION, inputs.TORCHVISION_INCEPTION),
    Naming(
        _BY_KERAS, ("inception_v3",), KERAS, inception.keras, inputs.KERAS_TF_299, {"count_include_pad": False},
        unscaled=True,
    ),
    Naming(_BY_BOTH, _RESNETS, TORCH, resnet.TORCHVISION, inputs.TORCHVISION),
    Naming(_BY_TRANSFORMERS, _RESNETS, TORCH, resnet.TRANSFORMERS, inputs.TORCHVISION),
    Naming(
        _BY_KERAS, ("resnet50", "resnet101"), KERAS, resnet.KERAS, inputs.KERAS_CAFFE,
        {"epsilon": 1.001e-5, "stride_first": True},
    ),
    Naming(_BY_ONNX, ("resnet50",), ONNX, resnet.ONNX, None),
    Naming(_BY_BOTH, ("densenet121",), TORCH, densenet.TORCHVISION, inputs.TORCHVISION),
    Naming(_BY_KERAS, ("densenet121",), KERAS, densenet.KERAS, inputs.KERAS_TORCH, {"epsilon": 1.001e-5}),
    Naming(_BY_TORCHVISION, ("mobilenet_v2",), TORCH, mobilenet.TORCHVISION, inputs.TORCHVISION),
    Naming(_BY_TIMM, ("mobilenet_v2",), TORCH, mobilenet.TIMM, inputs.TORCHVISION),
    Naming(
        _BY_KERAS, ("mobilenet_v2",), KERAS, mobilenet.KERAS, inputs.KERAS_TF, {"epsilon": 1e-3, "pad": "same"}
    ),
    Naming(_BY_TORCHVISION, ("squeezenet1_1",), TORCH, squeezenet.TORCHVISION, inputs.TORCHVISION),
    Naming(_BY_ONNX, ("squeezenet1_1",), ONNX, squeezenet.ONNX, None),
)  # fmt: skip
