"""The model of collected frames: its head fitted to features of the shipped backbone, measured, and saved as a run."""

import copy
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.settings.checks import check
from pellucid.base.text import percent, plural
from pellucid.calibration.familiarity import familiarity_scores
from pellucid.data import float_images
from pellucid.metrics import class_scores
from pellucid.recipe.build import build_model
from pellucid.recipe.checked.findings import data_warnings
from pellucid.recipe.checked.reading import read_checked
from pellucid.recipe.own import recipe_for
from pellucid.run.folder import RunFolder, next_run
from pellucid.studio.gestures.frames import ClassFrames
from pellucid.studio.gestures.shortcut import Scene, Shortcut, empty_scene, shortcut_text, shortcuts
from pellucid.studio.train.analysis import Tested
from pellucid.task import task_of

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.recipe.checked.collection import Collection
    from pellucid.recipe.recipe import Recipe

VERB = "classify"  # as in `pellucid train classify`
STEPS = ("compare the frames", "fit the classes", "fit the thresholds", "measure, and search for shortcuts")
FRAMES_FOLDER = "frames"  # in the run folder
MIN_ALIKE = 0.5  # the part of the frames that are near duplicates, from which this is a remark
# Near duplicates of `data.check` are judged by the whole picture, so that a small object that moves before a camera at
# rest is one; frames are distinct here if MIN_MOVED of their cells of 4 x 4 pixels differ by CELL_CHANGE, 0 to 1.
MIN_MOVED = 0.01
CELL_CHANGE = 0.1
MAX_DISTINCT = 20  # frames of a class that repeat no other; with more, it was moved and turned, if slowly or again
MIN_SAME = 0.1  # the part of a class that nearly repeats frames of another class
MIN_DEVIATIONS = 2.0  # above guessing, in standard deviations, from which an accuracy is clearly better
MIN_BLURRED = 0.2  # the part of a class that is blurred, too dark or too bright
MAX_DARK = 0.2  # grey, 0 to 1, below which 95 % of the pixels of a dark frame are
MIN_BRIGHT = 0.95  # above which 95 % of those of a bright one are


@dataclass(frozen=True, eq=False)
class Taught:
    """A classifier of collected frames.

    frames: those that it learned from, and was measured on. tested: the held-out ones, with its predictions. answered:
    how many of these are not unsure by the fitted threshold. remarks: on the frames, without the shortcuts.
    """

    frames: ClassFrames
    model: "Model"
    recipe: "Recipe"
    collection: "Collection"
    tested: Tested
    answered: int
    remarks: tuple[str, ...]
    shortcuts: list[Shortcut]

    @property
    def accuracy(self) -> float:
        """The part of the held-out frames that is predicted correctly."""
        return float((self.tested.true == self.tested.predicted).double().mean())

    @cached_property
    def distances(self) -> Tensor:
        """The distances of the held-out frames from the training frames."""
        distances = self.model.distance(float_images(self.tested.images))
        assert distances is not None
        return distances

    def move_thresholds(self, unsure: float | None, unlike: float | None) -> None:
        """Set the probability below which an answer is unsure, and the distance above which a frame is unlike anything.

        None leaves one as it is. Raises PellucidError for a threshold that the model does not have.
        """
        confidence, familiarity = self.model.confidence, self.model.familiarity
        if (unsure is not None and confidence is None) or (unlike is not None and familiarity is None):
            raise PellucidError("the model has no such threshold; collect more frames, and train again")
        if confidence is not None and unsure is not None:
            self.model.confidence = replace(confidence, threshold=unsure)
        if familiarity is not None and unlike is not None:
            check(unlike > 0, "unlike", "above 0", unlike)
            alarms = float((self.distances > unlike).double().mean())
            self.model.familiarity = replace(familiarity, threshold=unlike, alarms=alarms)

    def shortcut_of(self, label: int) -> str | None:
        """Return in words the shortcut by which a class is told apart, None without one."""
        found = next((shortcut for shortcut in self.shortcuts if label in shortcut.classes), None)
        return None if found is None else shortcut_text(found, self.collection.classes)


def teach(frames: ClassFrames, begin: Callable[[int], None]) -> Taught:
    """Fit a classifier to frames, by the recipe of `pellucid train classify` for a folder of these, without its epochs.

    The head is the linear model of the backbone's features from which that training starts. The thresholds of "unsure"
    and "unlike anything" are fitted on the held-out frames. begin: function of the number of the step that begins, from
    1 to the number of STEPS. Raises PellucidError for fewer than two classes, and for a
    class with too few frames.
    """
    frames = frames.copy()
    begin(1)
    with tempfile.TemporaryDirectory(prefix="pellucid-frames-") as name:
        folder = Path(name) / FRAMES_FOLDER
        frames.write(folder)
        recipe, _ = recipe_for(VERB, str(folder), {"data.check": True})
        collection = read_checked(recipe)
        begin(2)
        model = build_model(recipe, collection.train)
    begin(3)
    task_of(model).finish(model, collection.train, collection.test, collection.test)
    begin(4)
    test = collection.test
    probabilities = _probabilities(model, test)
    tested = Tested(test.x, test.y, probabilities.argmax(1), tuple(collection.classes))
    threshold = 0.0 if model.confidence is None else model.confidence.threshold
    x = float_images(torch.cat([collection.train.x, test.x]))
    y = torch.cat([collection.train.y, test.y])
    scene = empty_scene(x, y)
    return Taught(
        frames,
        model,
        recipe,
        collection,
        tested,
        int((probabilities.max(1).values >= threshold).sum()),
        (
            *_guessing_remark(tested.counts),
            *_scene_remark(model, scene, collection.classes),
            *_remarks(collection, x, y, None if scene is None else scene.label, model.familiarity is not None),
        ),
        shortcuts(lambda pictures: class_scores(model.predict(pictures)), x, y),
    )


def _guessing_remark(counts: Tensor) -> tuple[str, ...]:
    """Return a sentence if the accuracy is not clearly above that of always guessing the most frequent class."""
    from pellucid.doctor.simple_classifier import CorrectCount  # the first page does not need the doctor

    n = int(counts.sum())
    chance = float(counts.sum(1).max()) / n
    correct = CorrectCount(int(counts.diagonal().sum()), n, chance)
    if correct.deviations_above_chance >= MIN_DEVIATIONS:
        return ()
    comparison = "no better" if correct.accuracy <= chance else "not clearly better"
    return (
        f"{correct.right} of {n} held-out frames right is {comparison} than guessing ({percent(chance)}); collect more "
        "frames, on which the classes differ visibly",
    )


def _probabilities(model: "Model", x: Any) -> Tensor:
    scores = class_scores(model.predict(x))
    return scores if model.confidence is None else model.confidence.calibrate(scores)


def _scene_remark(model: "Model", scene: Scene | None, classes: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence if the model takes the scene without an object for one of its classes."""
    if scene is None or scene.label is not None:
        return ()
    probabilities = _probabilities(model, scene.picture[None])[0]
    (familiarity,) = familiarity_scores(model, scene.picture[None])
    probability, label = probabilities.max(0)
    is_unsure = model.confidence is not None and float(probability) < model.confidence.threshold
    if is_unsure or (familiarity is not None and familiarity.unfamiliar):
        return ()
    return (
        f"the scene without an object, put together from these frames, is read as {classes[int(label)]} "
        f"({percent(float(probability))}); collect it as a class of its own, such as “nothing”",
    )


def n_distinct(pictures: Tensor) -> int:
    """Return how many pictures (N, 3, H, W), 0 to 1, repeat no earlier one, counted to MAX_DISTINCT + 1."""
    cells = F.avg_pool2d(pictures.mean(1, keepdim=True), 4).flatten(1)
    distinct = cells[:1]
    for one in cells[1:]:
        moved = ((one - distinct).abs() > CELL_CHANGE).double().mean(1)
        if float(moved.min()) > MIN_MOVED:
            distinct = torch.cat([distinct, one[None]])
        if len(distinct) > MAX_DISTINCT:
            break
    return len(distinct)


def light_remarks(name: str, pictures: Tensor) -> list[str]:
    """Return a sentence if many pictures (N, 3, H, W), 0 to 1, of a class are nearly black, and if many are white."""
    grey = pictures.mean(1).flatten(1)
    low, high = (torch.stack([one.quantile(part) for one in grey]) for part in (0.05, 0.95))
    problems = {
        "nearly black; add light": int((high < MAX_DARK).sum()),
        "nearly white; use less light": int((low > MIN_BRIGHT).sum()),
    }
    n = len(pictures)
    return [f"{k} of {n} frames of {name} are {text}" for text, k in problems.items() if k >= MIN_BLURRED * n]


def _remarks(collection: "Collection", x: Tensor, y: Tensor, empty: int | None, finds_unlike: bool) -> tuple[str, ...]:
    """Return a sentence for each problem of the frames.

    x, y: pictures of all parts, 0 to 1, and their classes. empty: the class that shows the scene without an object,
    where nothing can move, and which is as sharp as behind the objects. finds_unlike: whether the model says "unlike
    anything".
    """
    class_of_file = {
        file: part.classes[label]
        for part in collection.parts().values()
        for file, label in zip(part.files, part.y.tolist(), strict=True)
    }
    sizes = Counter(class_of_file.values())
    alike = Counter(tuple(sorted(pair.classes)) for pair in collection.duplicates)
    blurred = Counter(class_of_file[picture.file] for picture in collection.blurry)
    # Its warnings of near duplicates are about photos of a folder; those of frames follow.
    remarks = list(data_warnings(replace(collection, duplicates=(), n_leaked=0), "training frame"))
    n_test = len(collection.test)
    if collection.n_leaked >= MIN_ALIKE * n_test:
        strict = " and “unlike anything” too strict" if finds_unlike else ""
        remarks.append(
            f"{collection.n_leaked} of {n_test} held-out frames nearly repeat a training frame, so the accuracy is too "
            f"optimistic{strict}; collect another stretch elsewhere"
        )
    for (first, second), count in alike.items():
        if first != second and count >= MIN_SAME * min(sizes[first], sizes[second]):
            remarks.append(
                f"too alike: {plural(count, 'frame')} of {first} nearly repeat {second}; fill more of the picture with "
                "what differs, or remove frames that are in the wrong class"
            )
    for label, name in enumerate(collection.classes):
        pictures = x[y == label]
        distinct = n_distinct(pictures)
        if label != empty and distinct <= min(MAX_DISTINCT, (1 - MIN_ALIKE) * len(pictures)):
            remarks.append(
                f"too alike: {len(pictures) - distinct} of {len(pictures)} frames of {name} nearly repeat another one; "
                "move and turn while you collect"
            )
        remarks += light_remarks(name, pictures)
    for name, count in blurred.items():
        if count >= MIN_BLURRED * sizes[name] and (empty is None or name != collection.classes[empty]):
            remarks.append(f"{count} of {sizes[name]} frames of {name} are blurred; move slower, or add light")
    return tuple(remarks)


def save(taught: Taught, folder: Path, name: str) -> Path:
    """Write a model as the new run folder NAME-N in `folder`, with its frames, and return the path.

    The folder is complete when it appears; no other run is changed. It is finished: `pellucid train --resume` refuses
    it. Raises PellucidError if the folder cannot be written.
    """
    path = next_run(folder, name)
    frames_folder = path / FRAMES_FOLDER
    recipe = replace(
        taught.recipe,
        recipe=replace(taught.recipe.recipe, name=name),
        data=replace(taught.recipe.data, name=str(frames_folder)),
    )
    model = copy.copy(taught.model)  # which does not learn the path before the run is written
    model.preprocess = {**model.preprocess, "data": str(frames_folder)}
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as temporary:
            run = RunFolder(Path(temporary) / "run")
            run.weights.mkdir(parents=True)
            taught.frames.write(run.path / FRAMES_FOLDER)
            write_atomically(run.recipe, recipe.to_toml().encode())
            run.write_manifest(recipe.recipe.seed, taught.collection.checksums, {"recipe": name})
            results = {**model.evaluate(taught.collection.test), "weights": "best", "epochs": 0}
            write_atomically(run.path / "results.json", (json.dumps(results, indent=2) + "\n").encode())
            model.save(run.best)
            os.rename(run.path, path)  # onto the empty folder
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); check the folder and its space") from error
    finally:
        with suppress(OSError):
            path.rmdir()  # only an empty one: the run was not written
    return path
