"""A classifier's inputs and outputs: image files converted like its training data, class names and probabilities."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import is_picture
from pellucid.base.text import note
from pellucid.data import CATALOGUE, Dataset, Source, load_image
from pellucid.data.class_folders import class_of, class_parts, note_class_folders, root_of
from pellucid.data.dataset import float_images, make_dataset
from pellucid.data.files import check_bits, refuse_unreadable
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.images import read_full_size
from pellucid.data.parts import HELD_OUT_PARTS, parts_among, standard_part
from pellucid.data.seeds import generator
from pellucid.data.skipping import note_skipped_names, skips
from pellucid.data.tree import Tree, open_tree
from pellucid.layers.base import Shape
from pellucid.metrics import class_scores
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.recipe.checked.collection import HELD_OUT_KEY, short_digest
from pellucid.recipe.material import SHAPES, load_splits
from pellucid.recipe.model_data import (
    check_data_exists,
    check_data_in_run_folder,
    data_for_model,
    data_name,
    is_data_root,
    table_for,
)
from pellucid.task import task_of
from pellucid.tasks.digits import LAYOUTS, lay_out_with_surroundings
from pellucid.training.measures import boundary, predicts_probabilities


def class_names(model: Model) -> tuple[str, ...]:
    """Return the names of a classifier's classes; raises PellucidError for any other model."""
    return task_of(model).class_names(model)


BATCH_SIZE = 256  # images of a source that are predicted at a time
ROUNDING = 1e-6  # tolerance for rounding errors of float32 probabilities


def are_probabilities(model: Model, outputs: Tensor) -> bool:
    """Return whether the results of `model.predict` are probabilities, judging by the network, the loss and the values.

    outputs: the results.
    """
    objective = model.objective
    declares_probabilities = not isinstance(objective, Supervised) or predicts_probabilities(
        objective.net, objective.loss
    )
    return declares_probabilities and bool(((outputs >= 0) & (outputs <= 1 + ROUNDING)).all())


def raw_scores(model: Model, outputs: Tensor) -> Tensor:
    """Return the results of `model.predict` as scores of the classes (N, C); a single logit y becomes (-y, y)."""
    if outputs.shape[1] == 1 and boundary(model.net, model.loss) == 0:
        return torch.cat([-outputs, outputs], 1)
    return class_scores(outputs)


def calibrated_probabilities(model: Model, scores: Tensor) -> Tensor:
    """Return the results of `model.predict` as probabilities (N, C), calibrated if the model has a calibration.

    Raises PellucidError for scores that are not probabilities, such as logits.
    """
    if not are_probabilities(model, scores):
        loss_or_objective = model.objective.loss if isinstance(model.objective, Supervised) else model.objective
        raise PellucidError(
            f"the model outputs scores, no probabilities; end the network with Softmax, or give "
            f"{type(loss_or_objective).__name__} a method predict that returns probabilities, such as y.softmax(1)"
        )
    scores = class_scores(scores)
    return scores if model.confidence is None else model.confidence.calibrate(scores)


def predict_source(model: Model, source: Source, shape: Shape | None = None) -> tuple[Tensor, Tensor]:
    """Return the results of `model.predict` for all examples of a source, and their targets.

    shape: to which the images are reshaped; None for their own.
    """
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for start in range(0, len(source), BATCH_SIZE):
        batch = source.batch(range(start, min(start + BATCH_SIZE, len(source))), generator(0))
        images = batch.images if shape is None else batch.images.reshape(-1, *shape)
        outputs.append(model.predict(images).cpu())
        targets.append(batch.targets)
    return torch.cat(outputs), torch.cat(targets)


def read_picture(model: Model, source: str | Path | bytes, name: str = "") -> Tensor:
    """Return the picture in a file, or in its bytes, as one input (C, H, W), float32 0..1.

    For a network of handwritten digits, the digit is cropped and converted to the layout of the training data; for any
    other network, the picture is resized with antialiasing, like the training data. Raises PellucidError, which names
    the picture, if it cannot be read, or if it should contain a digit but is blank.
    """
    return float_images(_read_inputs(model, source, name or str(source))[:1])[0]


def read_views(model: Model, source: str | Path | bytes, name: str = "") -> Tensor:
    """Return a picture as one or two inputs (1 or 2, C, H, W).

    The first input is the result of `read_picture`. For a network of handwritten digits there is a second input, which
    also contains the surroundings that the layout of digits leaves out. A picture is unfamiliar if one of its inputs is
    unlike the training data.
    """
    return float_images(_read_inputs(model, source, name or str(source)))


def _read_inputs(model: Model, source: str | Path | bytes, name: str) -> Tensor:
    """Return the inputs of `read_views`; pictures other than digits are uint8 (1, C, H, W), 0 to 255."""
    shape = model.nominal_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        advice = "give another"
        if len(shape) == 3 and shape[2] in (1, 3):
            advice = (
                "if `pellucid export --whole` wrote it, export it without --whole, or open the run or weights that it "
                "came from"
            )
        raise PellucidError(f"the model takes inputs of shape {shape}, not pictures (1 or 3, H, W); {advice}")
    layout = LAYOUTS.get(data_name(model))
    if layout is not None:
        return torch.stack(
            lay_out_with_surroundings(load_image(read_full_size(source, name), name, mode="L"), layout, name)
        )
    size = model.preprocess.get("size") if None in model.input_shape else shape[1:]
    if isinstance(size, list | tuple):
        return load_image(source, name, size=(size[0], size[1]), mode="L" if shape[0] == 1 else "RGB")[None]
    image = load_image(read_full_size(source, name), name, mode="L" if shape[0] == 1 else "RGB")
    model.outputs_for_picture(image.shape)
    return image[None]


def held_out(model: Model, data: str | None) -> Dataset:
    """Return the images to evaluate a model on; raises PellucidError for files that cannot be read.

    data: a known data set, an image folder or zip, or the root of the data sets; None for the model's own data. Of a
    folder with parts, the test part is used, otherwise the validation part, otherwise the fifth of train/ that
    `load_splits` holds out. Of a folder without parts, all images are used. If the model was trained on this folder,
    only the fifth that was held out in training, or the files that the model lists as held out, are used; a note on
    stderr reports how many of the listed files are missing.
    """
    training_data = data_name(model)
    from pellucid.tasks.annotated import class_dataset

    if (training_data or data) and (table_images := class_dataset(model, data)) is not None:
        return table_images
    if data is None and not training_data:
        raise PellucidError("the model does not name its training data; name a data set with --data")
    if data is None or is_data_root(training_data, data):
        check_data_in_run_folder(training_data, model.source)
        if training_data not in CATALOGUE and training_data not in SHAPES and Path(training_data).exists():
            return _load_class_folders(model, training_data, all_images=False)
        test = load_splits(table_for(model.nominal_shape, training_data), data).test
        return data_for_model(model.nominal_shape, model.classes, test)
    if data in CATALOGUE or data in SHAPES:
        return data_for_model(
            model.nominal_shape, model.classes, load_splits(table_for(model.nominal_shape, data)).test
        )
    check_data_exists(data)
    return _load_class_folders(
        model, data, all_images=not training_data or Path(training_data).resolve() != Path(data).resolve()
    )


def _load_class_folders(model: Model, data: str, all_images: bool) -> Dataset:
    """Read CLASS/IMAGE files as in `read_picture`; the class is the innermost folder with the name of a class.

    all_images: whether to use all images of a folder without parts, or only those that training held out.
    """
    classes = class_names(model)
    x, class_indices = torch.empty(0), list[int]()
    faults: dict[str, PellucidError] = {}
    with open_tree(data) as tree:
        files, part = _evaluation_part([label for label in tree.names if "/" in label and is_picture(label)], classes)
        check_bits(tree, files)
        is_held_out = standard_part(part) in HELD_OUT_PARTS
        has_list = not all_images and not is_held_out and HELD_OUT_KEY in model.preprocess
        if has_list:
            files = _listed_files(model, tree, files)
        class_root = f"{root_of(tree)}{part}/" if part else root_of(tree)
        for file in files:
            location, folders = tree.where(file), file.split("/")[:-1]
            folders = [class_of(file, class_root)] if has_list else folders  # as in training
            label = next((folder for folder in reversed(folders) if folder in classes), None)
            if label is None:
                unmatched_files = [file for file in files if not {*file.split("/")[:-1]} & {*classes}]
                raise _missing_class_error(
                    location, folders[-1], [name.split("/")[-2] for name in unmatched_files], classes
                )
            try:
                picture = _read_inputs(model, tree.read(file), location)[0]
            except PellucidError as error:
                faults[location] = error
                continue
            if not class_indices:
                x = picture.new_empty(len(files), *picture.shape)
            x[len(class_indices)] = picture
            class_indices.append(classes.index(label))
        if skips():
            note_skipped_names(data, [*faults], len(files))
        else:
            refuse_unreadable(faults)
        with suppress(PellucidError):  # there is no part to train on
            note_class_folders(tree, root_of(tree), class_parts(tree, root_of(tree)))
    if not class_indices:
        raise PellucidError(f"{data} has no images in folders named by class; lay it out as CLASS/IMAGE")
    images = make_dataset(data, x[: len(class_indices)], torch.tensor(class_indices), classes, tuple(faults))
    return images if has_list or is_held_out or (all_images and not part) else images.split(TEST_FRACTION).test


def _missing_class_error(
    location: str, missing_class: str, missing_classes: Sequence[str], classes: Sequence[str]
) -> PellucidError:
    """Return the error for the image `location` of `missing_class`, a class that the model does not have.

    missing_classes: the classes of all such images. classes: of the model.
    """
    other_classes = [repr(name) for name in dict.fromkeys(missing_classes) if name != missing_class]
    others_text = f" (it also lacks {', '.join(other_classes):.80})" if other_classes else ""
    hint = nearest(missing_class, classes) or f"; it has {', '.join(classes):.80}"
    return PellucidError(
        f"{location} is of class {missing_class!r}, which the model lacks{others_text}{hint}; rename the folders, or "
        "train a model on them"
    )


def _listed_files(model: Model, tree: Tree, files: list[str]) -> list[str]:
    """Return the files whose digests the model lists as held out; write a note if some held-out files are missing."""
    digests: Any = model.preprocess[HELD_OUT_KEY]
    if not isinstance(digests, list) or not digests or not all(isinstance(digest, str) for digest in digests):
        raise PellucidError(
            f"the model does not list which files of {tree.path} it held out (its {HELD_OUT_KEY} is {digests!s:.40}); "
            "give other pictures with --data"
        )
    digest_set = {*digests}
    present_files = {file: digest for file in files if (digest := _digest(tree, file)) in digest_set}
    if not present_files:
        raise PellucidError(
            f"{tree.path} contains none of the {len(digest_set):,} pictures that training held out; give pictures "
            "that the model was not trained on with --data"
        )
    if n_missing := len(digest_set) - len({*present_files.values()}):
        note(
            f"{n_missing:,} of the {len(digest_set):,} pictures that training held out are missing from {tree.path}, "
            "or changed; the others are measured"
        )
    return [*present_files]


def _digest(tree: Tree, file: str) -> str:
    """Return a file's short digest; for a file that cannot be read "", which equals no digest."""
    try:
        return short_digest(hashlib.sha256(tree.read(file)).digest())
    except PellucidError:
        return ""


def _evaluation_part(files: list[str], classes: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the files of the part to evaluate on, and the name of the part; all files and "" if there are no parts."""
    folders = {folder for file in files for folder in file.split("/")[:-2]} - set(classes)
    parts = parts_among(filter(standard_part, folders))
    part = parts.held_out or parts.train or ""
    return [file for file in files if not part or part in file.split("/")[:-2]], part
