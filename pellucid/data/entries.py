"""The published data sets: their files, checksums, classes and sources."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # functions import what they need, so that `pellucid data list` starts without PyTorch
    from pellucid.data.detection import Pairs


@dataclass(frozen=True)
class PublishedFile:
    """One published file: its URL, MD5 and size in bytes, and the SHA-256 of the uncompressed file."""

    file: str
    url: str
    md5: str
    size: int
    sha256: str = ""  # "" if only the MD5 of the compressed file is published


@dataclass(frozen=True)
class Licence:
    """The licence of the images of a data set.

    name: the licence, or NO_LICENCE. is_free: whether it permits commercial use, too. statement: what its authors say.
    source: where they say it.
    """

    name: str
    is_free: bool
    statement: str
    source: str


@dataclass(frozen=True)
class Entry:
    """One data set.

    kind: how its files are stored. contents: sizes and authors. path: the path of its file or folder below the data
    root. swaps: the pairs of key-points that mirroring exchanges.
    """

    name: str
    title: str
    kind: Literal["bundled", "idx", "images", "masks", "objects"]
    contents: str
    licence: Licence
    path: str = ""
    classes: tuple[str, ...] = ()
    sources: tuple[PublishedFile, ...] = ()
    swaps: "Pairs | None" = None

    @property
    def about(self) -> str:
        """Return sizes, authors and licence."""
        return f"{self.contents}; {self.licence.name}"


NO_LICENCE = "no licence found"
MASK_PARTS = ("train", "val")  # folders of images with masks: training data, test data
_DIGITS = tuple("0123456789")
# Pairs of left and right key-points among the 68 of a face: jaw, brows, nose, eyes, outer and inner lips
# (Sagonas et al. 2013, "300 Faces").
_FACE_SWAPS = (
    *((k, 16 - k) for k in range(8)),
    *((17 + k, 26 - k) for k in range(5)),
    (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58),
    (60, 64), (61, 63), (65, 67),
)  # fmt: skip
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # mirror of the retired yann.lecun.com
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# In the order: training images, training labels, test images, test labels.
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_sources(site: str, *checksums: tuple[str, int, str]) -> tuple[PublishedFile, ...]:
    """Return the four idx files at a site; checksums: (MD5, size, SHA-256) of each."""
    return tuple(PublishedFile(file, site + file, *values) for file, values in zip(_IDX_FILES, checksums, strict=True))


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "digits",
            "Optical recognition of handwritten digits, 8x8",
            "bundled",
            "1,797 images, a fifth of each class held out; Alpaydin, Kaynak 1998; inside scikit-learn",
            licence=Licence(
                "CC BY 4.0",
                is_free=True,
                statement="The data set is licensed under CC BY 4.0.",
                source="https://archive.ics.uci.edu/dataset/80",
            ),
            classes=_DIGITS,
        ),
        Entry(
            "mnist",
            "MNIST handwritten digits, 28x28",
            "idx",
            "60,000 + 10,000 images; LeCun, Cortes, Burges 1998",
            licence=Licence(
                "CC BY-SA 3.0",
                is_free=True,
                statement="LeCun and Cortes hold the copyright, and publish it under CC BY-SA 3.0.",
                source="https://keras.io/api/datasets/mnist/",
            ),
            path="mnist",
            classes=_DIGITS,
            sources=_idx_sources(
                _MNIST,
                ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422,
                 "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
                ("d53e105ee54ea40749a09fcbcd1e9432", 28_881,
                 "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
                ("9fb629c4189551a2d022fa330f9573f3", 1_648_877,
                 "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
                ("ec29112dd5afa0611ce80d1b7f02629c", 4_542,
                 "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
            ),
        ),
        Entry(
            "fashion-mnist",
            "Fashion-MNIST, photos of clothes, 28x28",
            "idx",
            "60,000 + 10,000 images; Xiao, Rasul, Vollgraf 2017",
            licence=Licence(
                "MIT",
                is_free=True,
                statement="Zalando SE holds the copyright, and publishes it under the MIT licence.",
                source="https://github.com/zalandoresearch/fashion-mnist",
            ),
            path="fashion-mnist",
            classes=(
                "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
            ),
            sources=_idx_sources(
                _FASHION,
                ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880, ""),
                ("25c81989df183df01b3e8a0aad5dffbe", 29_515, ""),
                ("bef4ecab320f06d8554ea6380940ec79", 4_422_102, ""),
                ("bb300cfdad3c16e7a12a480ee83cd310", 5_148, ""),
            ),
        ),
        Entry(
            "cifar10",
            "CIFAR-10 photos of ten kinds of things, 32x32 colour, as JPEG",
            "images",
            "50,000 + 10,000 images in train/CLASS/*.jpg and test/CLASS/*.jpg; Krizhevsky 2009",
            licence=Licence(
                NO_LICENCE,
                is_free=False,
                statement="The authors ask to cite their report of 2009. The photos are from 80 Million Tiny Images.",
                source="https://www.cs.toronto.edu/~kriz/cifar.html",
            ),
            path="cifar10/cifar10.zip",
        ),
        Entry(
            "signs",
            "Sign-language digits, 100x100 colour",
            "images",
            "1,428 + 309 images in train/CLASS/*.jpg and val/CLASS/*.jpg; Mavi 2020",
            licence=Licence(
                "Apache-2.0",
                is_free=True,
                statement="The repository is licensed under Apache-2.0; the authors ask to cite arXiv 2011.08927.",
                source="https://github.com/ardamavi/Sign-Language-Digits-Dataset",
            ),
            path="signs",
        ),
        Entry(
            "camvid",
            "CamVid road scenes with the class of each pixel, 240x180 colour",
            "masks",
            "367 + 101 photos in train and val, index PNGs in trainannot and valannot; Brostow 2009",
            licence=Licence(
                NO_LICENCE,
                is_free=False,
                statement="The authors offer it to researchers of object analysis, and ask to cite two papers.",
                source="http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/",
            ),
            path="camvid",
            classes=(
                "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
                "bicyclist",
            ),
        ),
        Entry(
            "bccd",
            "Blood cells in boxes, 640x480 colour",
            "objects",
            "205 + 87 images, Pascal VOC with lists train and val; BCCD 2018",
            licence=Licence(
                "MIT",
                is_free=True,
                statement="The repository is under the MIT licence; it thanks cosmicad and akshaylamba for the images.",
                source="https://github.com/Shenggan/BCCD_Dataset",
            ),
            path="bccd",
            classes=("RBC", "WBC", "Platelets"),
        ),
        Entry(
            "pennfudan",
            "Penn-Fudan pedestrians with masks, colour photos of many sizes",
            "objects",
            "120 + 25 images, train.json and val.json of COCO; Wang, Shi, Song, Shen 2007",
            licence=Licence(
                NO_LICENCE,
                is_free=False,
                statement="It was published with a paper on pedestrian detection; its page could not be read here.",
                source="https://www.cis.upenn.edu/~jshi/ped_html/",
            ),
            path="pennfudan",
            classes=("person",),
        ),
        Entry(
            "faces",
            "Faces with 68 key-points, 112x112 colour",
            "objects",
            "2,600 + 300 frames of videos, train.json and val.json of COCO; YouTube Faces 2011",
            licence=Licence(
                NO_LICENCE,
                is_free=False,
                statement="The authors offer it to study face recognition. The videos were downloaded from YouTube.",
                source="https://www.cs.tau.ac.il/~wolf/ytfaces/",
            ),
            path="faces",
            classes=("face",),
            swaps=_FACE_SWAPS,
        ),
    )
}  # fmt: skip
