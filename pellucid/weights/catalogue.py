"""Published files of pretrained weights: URLs, checksums and download."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError, nearest

if TYPE_CHECKING:
    from pellucid.data.fetch import ByteProgress

_CHECKSUM_DIGITS = {"md5": 32, "sha256": 64}  # hexadecimal digits of a complete checksum


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights."""

    name: str  # the model's name, with a suffix if there are several files
    title: str
    url: str
    # "sha256:HEX" or "md5:HEX", or "" if none is published; SHA-256 may be given by its first eight digits only, which
    # PyTorch puts into its files' names
    checksum: str
    megabytes: int  # an upper bound of the size

    @property
    def file(self) -> str:
        """Return the file's official name."""
        return self.url.rsplit("/", 1)[1]

    @property
    def has_complete_checksum(self) -> bool:
        """Return whether the checksum is complete, so a download can be verified."""
        algorithm, _, digits = self.checksum.partition(":")
        return len(digits) == _CHECKSUM_DIGITS.get(algorithm)


def _torchvision(name: str, title: str, file: str, megabytes: int, digits: str = "") -> PublishedWeights:
    """Return an entry for a torchvision file. digits: its SHA-256 after the first eight, which are in the name."""
    first_digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    about = f"{title}, ImageNet; torchvision, BSD-3-Clause"
    return PublishedWeights(
        name, about, f"https://download.pytorch.org/models/{file}", f"sha256:{first_digits}{digits}", megabytes
    )


def _keras_files(
    name: str, title: str, path: str, sizes: tuple[int, int], md5s: tuple[str, str]
) -> tuple[PublishedWeights, ...]:
    """Return entries for the Keras Applications files with and without the top layer; {} in `path` marks "_notop"."""
    site = "https://storage.googleapis.com/tensorflow/keras-applications/"
    about = f"{title}, ImageNet{{}}; Keras Applications, Apache-2.0"
    file_suffixes = ("", "_no_top") if path.startswith("mobilenet") else ("", "_notop")
    return tuple(
        PublishedWeights(
            name + suffix, about.format(remark), site + path.format(file_suffix), f"md5:{md5}" if md5 else "", megabytes
        )
        for suffix, remark, file_suffix, megabytes, md5 in zip(
            ("-keras", "-keras-notop"), ("", ", without the top layer"), file_suffixes, sizes, md5s, strict=True
        )
    )


_TF_NAME = "weights_tf_dim_ordering_tf_kernels"

CATALOGUE: dict[str, PublishedWeights] = {
    entry.name: entry
    for entry in (
        _torchvision("alexnet", "AlexNet", "alexnet-owt-7be5be79.pth", 245,
                     "1159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
        _torchvision("vgg11", "VGG-11", "vgg11-8a719046.pth", 532),
        _torchvision("vgg13", "VGG-13", "vgg13-19584684.pth", 533),
        _torchvision("vgg16", "VGG-16", "vgg16-397923af.pth", 554,
                     "8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        _torchvision("vgg19", "VGG-19", "vgg19-dcbb9e9d.pth", 575,
                     "ad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
        _torchvision("vgg11_bn", "VGG-11 with batch norm", "vgg11_bn-6002323d.pth", 532,
                     "9413ae02f657473d3ecbbd7f86ee496b8a0dc8dc6140a639a0fcf13d"),
        _torchvision("vgg13_bn", "VGG-13 with batch norm", "vgg13_bn-abd245e5.pth", 533),
        _torchvision("vgg16_bn", "VGG-16 with batch norm", "vgg16_bn-6c64b313.pth", 554,
                     "8f2f4fcb3bcc4cafde11619c4f440eb1631787e93a682fd88305888a"),
        _torchvision("vgg19_bn", "VGG-19 with batch norm", "vgg19_bn-c79401a0.pth", 575,
                     "cf3cb42714e4182f5868c7a6f4f4534f5df9e956e2bb2098de41cbb6"),
        _torchvision("googlenet", "GoogLeNet", "googlenet-1378be20.pth", 53,
                     "a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef"),
        _torchvision("inception_v3", "Inception-v3", "inception_v3_google-0cc3c7bd.pth", 110,
                     "75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef"),
        _torchvision("resnet18", "ResNet-18", "resnet18-f37072fd.pth", 47,
                     "47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),
        _torchvision("resnet34", "ResNet-34", "resnet34-b627a593.pth", 88,
                     "bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f"),
        _torchvision("resnet50", "ResNet-50", "resnet50-0676ba61.pth", 103,
                     "b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
        _torchvision("resnet50-imagenet1k-v2", "ResNet-50, second training", "resnet50-11ad3fa6.pth", 103,
                     "2ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca"),
        _torchvision("resnet101", "ResNet-101", "resnet101-63fe2227.pth", 180,
                     "b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a"),
        _torchvision("resnet101-imagenet1k-v2", "ResNet-101, second training", "resnet101-cd907fc2.pth", 180,
                     "a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e"),
        _torchvision("resnet152", "ResNet-152", "resnet152-394f9c45.pth", 242),
        _torchvision("resnet152-imagenet1k-v2", "ResNet-152, second training", "resnet152-f82ba261.pth", 242),
        _torchvision("densenet121", "DenseNet-121", "densenet121-a639ec97.pth", 33,
                     "d7c33b07ae66f0b5fb7d0192f95a3b11b7576c66c0126c2a727c4395"),
        _torchvision("mobilenet_v2", "MobileNetV2", "mobilenet_v2-b0353104.pth", 15,
                     "7ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"),
        _torchvision("mobilenet_v2-imagenet1k-v2", "MobileNetV2, second training", "mobilenet_v2-7ebf99e0.pth", 15,
                     "3e254b273379b23edca7ec0da9f48273b23a332b93c1c99d49e86e8f"),
        _torchvision("squeezenet1_1", "SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth", 5,
                     "49b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
        *_keras_files("vgg16", "VGG-16", f"vgg16/vgg16_{_TF_NAME}{{}}.h5", (554, 60),
                      ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")),
        *_keras_files("vgg19", "VGG-19", f"vgg19/vgg19_{_TF_NAME}{{}}.h5", (575, 81),
                      ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6")),
        *_keras_files("resnet50", "ResNet-50", f"resnet/resnet50_{_TF_NAME}{{}}.h5", (104, 96),
                      ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626")),
        *_keras_files("resnet101", "ResNet-101", f"resnet/resnet101_{_TF_NAME}{{}}.h5", (181, 173),
                      ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21")),
        *_keras_files("resnet152", "ResNet-152", f"resnet/resnet152_{_TF_NAME}{{}}.h5", (247, 238),
                      ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c")),
        *_keras_files("densenet121", "DenseNet-121", f"densenet/densenet121_{_TF_NAME}{{}}.h5", (35, 31),
                      ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738")),
        *_keras_files("inception_v3", "Inception-v3", f"inception_v3/inception_v3_{_TF_NAME}{{}}.h5", (98, 89),
                      ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63")),
        *_keras_files("mobilenet_v2", "MobileNetV2 1.0 224", f"mobilenet_v2/mobilenet_v2_{_TF_NAME}_1.0_224{{}}.h5",
                      (15, 10), ("", "")),
    )
}  # fmt: skip


def find_entry(name: str) -> PublishedWeights:
    """Return the entry of this name; raises PellucidError, which suggests the nearest name, if there is none."""
    entry = CATALOGUE.get(name)
    if entry is None:
        raise PellucidError(
            f"no published weights are known as {name!r}{nearest(name, CATALOGUE)}; `pellucid weights list` shows all"
        )
    return entry


ALIASES = {"mobilenet_v2-keras-notop": ("mobilenet_v2_imagenet_no_top.h5",)}  # other names of published files


def downloaded_path(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of published weights in ROOT/weights; raise PellucidError if missing. root: see `data_root`."""
    from pellucid.data.catalogue import data_root

    folder = data_root(root) / "weights"
    entry = find_entry(name)
    path = next((folder / file for file in ALIASES.get(name, ()) if (folder / file).is_file()), folder / entry.file)
    if not path.is_file():
        raise PellucidError(f"{path} is missing; run `pellucid weights get {name}` first")
    return path


def get(name: str, folder: str | os.PathLike[str], progress: "ByteProgress | None" = None) -> tuple[Path, str]:
    """Download a published file to `folder`, and return its path there and "kept" or "downloaded".

    An existing file is kept if it matches the published checksum, or its published first digits. A partial download is
    resumed. Raises PellucidError for an unknown name, for a file that cannot be downloaded, and for a file without a
    complete published checksum; the last two must be downloaded manually, to the path in the message.
    """
    from pellucid.data.fetch import fetch

    entry = find_entry(name)
    path = Path(folder) / entry.file
    if has_published_checksum(entry, path):
        return path, "kept"
    if not entry.has_complete_checksum:
        remark = " (the file there has another checksum)" if path.exists() else ""
        raise PellucidError(
            f"{name} has no complete published checksum, so it is not downloaded: fetch {entry.url} by hand and put "
            f"it at {path}{remark}"
        )
    try:
        fetch(entry.url, path, entry.checksum, limit=entry.megabytes * 1_000_000, progress=progress)
    except PellucidError as error:
        if not path.exists():
            raise
        raise PellucidError(f"the file at {path} is not the published one, and {error}") from error
    return path, "downloaded"


def has_published_checksum(entry: PublishedWeights, path: Path) -> bool:
    """Return whether the file exists and matches the published checksum, or its published first digits."""
    try:
        if not path.is_file():
            return False
        algorithm, _, digits = entry.checksum.partition(":")
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm or "md5").hexdigest().startswith(digits)
    except OSError as error:
        raise PellucidError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
