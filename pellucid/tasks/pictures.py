"""Pictures from outside become a network's inputs, as its training data looked."""

from pathlib import Path

import torch
from torch import Tensor

from pellucid.data import CATALOGUE, Dataset, data_root, load_image
from pellucid.data.dataset import float_images
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError, nearest
from pellucid.tasks.digits import FORMS, lay_out
from pellucid.train.model import Model
from pellucid.train.recipes.material import SHAPES, load_splits
from pellucid.train.recipes.tables import Data


def read_picture(model: Model, source: str | Path | bytes, name: str = "") -> Tensor:
    """Return a picture, a file or its bytes, as one input (C, H, W), float32 0..1.

    For a network of handwritten digits the digit is found and laid out as in its data; for any other the
    picture is resized. Raises PellucidError, naming the picture, when it cannot be read or shows nothing.
    """
    name = name or str(source)
    shape = model.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise PellucidError(f"the model takes inputs of shape {shape}, no pictures; give one for (1 or 3, H, W)")
    form = FORMS.get(data_name(model))
    mode = "L" if shape[0] == 1 else "RGB"
    if form is not None:
        return lay_out(load_image(source, name, mode="L"), form, name)
    return float_images(load_image(source, name, size=(shape[1], shape[2]), mode=mode))


def data_name(model: Model) -> str:
    """Return the name of the data that a model was trained on; "" when its file does not tell."""
    name = model.preprocess.get("data", "")
    return name if isinstance(name, str) else ""


def held_out(model: Model, data: str | None) -> Dataset:
    """Return the images to measure a model on.

    data: a known data set, an image folder or zip, or the root of the data sets; None for the model's own data.
    Of a folder in parts it is the test part, else the whole.
    """
    own = data_name(model)
    if data is None or (own in CATALOGUE and _is_root(own, data)):
        if not own:
            raise PellucidError("the model does not say what it was trained on; name a data set with --data")
        return _named_alike(model, load_splits(_table(model, own), None if data is None else data).test)
    if data in CATALOGUE or data in SHAPES:
        return _named_alike(model, load_splits(_table(model, data)).test)
    if not Path(data).exists():
        hint = nearest(data, [*CATALOGUE, *SHAPES])
        raise PellucidError(f"no data set or folder {data!r}{hint}; `pellucid data list` shows the names")
    with open_tree(data) as tree:
        in_parts = any("train" in file.split("/")[:-2] for file in tree.names)
    if in_parts and data_name(model) not in FORMS:
        return _named_alike(model, load_splits(_table(model, data)).test)
    return _folder(model, data, "test" if in_parts else "")


def _is_root(name: str, data: str) -> bool:
    """Tell whether `data` is the folder that holds the data set `name`."""
    place = CATALOGUE[name].place
    return bool(place) and Path(data).is_dir() and (data_root(data) / place).exists()


def _table(model: Model, name: str) -> Data:
    """Return the [data] table that loads images as the model takes them."""
    if name in SHAPES:
        return Data(name)
    return Data(name, size=model.input_shape[-1], mode="L" if model.input_shape[0] == 1 else "RGB")


def _folder(model: Model, data: str, part: str) -> Dataset:
    """Read CLASS/IMAGE files, each as `read_picture` does."""
    classes = model.classes or ()
    xs: list[Tensor] = []
    ys: list[int] = []
    with open_tree(data) as tree:
        for file in tree.names:
            folders = file.split("/")[:-1]
            if not folders or (part and part not in folders):
                continue
            if folders[-1] not in classes:
                hint = nearest(folders[-1], classes)
                raise PellucidError(f"{tree.where(file)} is of class {folders[-1]!r}, which the model lacks{hint}")
            xs.append(read_picture(model, tree.read(file), tree.where(file)))
            ys.append(classes.index(folders[-1]))
    if not xs:
        raise PellucidError(f"{data} holds no images in folders named by class; lay it out as CLASS/IMAGE")
    return Dataset.from_arrays(torch.stack(xs), torch.tensor(ys), classes, data)


def _named_alike(model: Model, data: Dataset) -> Dataset:
    """Number the classes of a data set as the model does; as they are where that names none."""
    classes = tuple(model.classes or data.classes)
    if classes == data.classes:
        return data
    for name in data.classes:
        if name not in classes:
            hint = nearest(name, classes) or f"; it knows {', '.join(classes):.80}, so give data of these classes"
            raise PellucidError(f"{data.name} has the class {name!r}, which the model lacks{hint}")
    order = torch.tensor([classes.index(name) for name in data.classes])
    return Dataset.from_arrays(data.x, order[data.y], classes, data.name)
