"""The interface of predictors: reading pictures from files, folders, videos and cameras, and their predictions."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pellucid.base.brief import screen_repr
from pellucid.base.errors import PellucidError
from pellucid.base.files import PICTURE_SUFFIXES, STILL_SUFFIXES, is_picture, pictures_below
from pellucid.base.text import note, plural

if TYPE_CHECKING:
    from torch import Tensor

SOURCE_HELP = "an image, a folder of images, a GIF or a video"
BATCH_SIZE = 16  # images in a batch
BATCH_PIXELS = 4_000_000  # a batch ends at this number of pixels, so that large images are read one by one


class Picture(NamedTuple):
    """An image for which a prediction is made.

    name: the name of output files, different for each image. file: the name in messages. read: a function that returns
    the image. frame: the index of a frame of a video or camera, from 0; None for image files.
    """

    name: str
    file: str
    read: "Callable[[], Tensor]"
    frame: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Predicted:
    """A prediction for one picture; fields that a task does not predict are None.

    values: the prediction as JSON values. line: the prediction as one line of text. rows: its rows of a table, by
    default one row with the numbers and texts of `values`.
    label, confidence: the class of a classifier, and its probability or score. boxes: (n, 4), x0, y0, x1, y1 in pixels;
    scores: (n,); labels: the class of each box; masks: (n, H, W) bool. mask: (H, W), the class of each pixel as an
    index of `labels`. points: (K, 3), x, y and score of each key-point, or (n, K, 3) for the key-points of each box.
    image: (C, H, W) uint8, the colorized picture. file: the written picture with the prediction drawn on it.
    """

    values: Mapping[str, Any]
    line: str
    rows: Sequence[Mapping[str, Any]] = ()
    label: str | None = None
    confidence: float | None = None
    boxes: "Tensor | None" = None
    scores: "Tensor | None" = None
    labels: tuple[str, ...] | None = None
    masks: "Tensor | None" = None
    mask: "Tensor | None" = None
    points: "Tensor | None" = None
    image: "Tensor | None" = None
    file: Path | None = None

    def __repr__(self) -> str:
        """Return the line of text."""
        return self.line

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a table."""
        plain = {name: value for name, value in self.values.items() if isinstance(value, (str, bool, int, float))}
        return self.rows or (plain,)

    def overlay(self, image: "Tensor", classes: Sequence[str] = ()) -> "Tensor":
        """Return the picture (3, H, W) uint8 with the prediction drawn over it, or the colorized picture.

        image: (C, H, W) uint8, as the predictor read it. classes: the model's classes, which set the colours of boxes.
        A small picture with objects or points is enlarged.
        """
        import numpy as np
        import torch

        from pellucid.report.figures.overlay import keypoint_overlay, object_overlay
        from pellucid.report.figures.pictures import mask_overlay

        if self.image is not None:
            return self.image[:3].expand(3, -1, -1)
        pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        if self.boxes is not None:
            names = self.labels or ("object",) * len(self.boxes)
            classes = classes if {*names} <= {*classes} else sorted({*names})
            indices = np.array([classes.index(name) for name in names], dtype=np.int64)
            pixels = object_overlay(pixels, self.boxes, indices, names, len(classes), self.masks, self.points)
        elif self.mask is not None:
            pixels = mask_overlay(pixels, self.mask, len(self.labels or ()))
        elif self.points is not None:
            pixels = keypoint_overlay(pixels, np.asarray(self.points)[:, :2])
        return torch.from_numpy(pixels).permute(2, 0, 1)


class PredictionList(list[Predicted]):
    """A list of the predictions for pictures, in order.

    skipped: the reason why a file was skipped, by file name. model, argument: the model and the argument of
    `Model.predict`, from which a notebook displays explanations; None for predictions of other functions.
    """

    def __init__(self, predictions: Iterable[Predicted] = (), skipped: Mapping[str, str] | None = None) -> None:
        super().__init__(predictions)
        self.skipped = dict(skipped or {})
        self.model: Any = None
        self.argument: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy, without the model and its argument."""
        return {**self.__dict__, "model": None, "argument": None}

    __repr__ = screen_repr

    def __str__(self) -> str:
        """Return the predictions as text, one on each line."""
        return "\n".join(map(str, self))

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows of a table: one for each picture, or one for each detected object."""
        return [row for prediction in self for row in prediction.table()]

    def to_dataframe(self) -> Any:
        """Return the rows as a pandas.DataFrame; raises PellucidError if pandas is not installed."""
        try:
            pandas: Any = import_module("pandas")
        except ImportError as error:
            raise PellucidError("a DataFrame needs pandas; pip install pandas, or use rows or to_csv") from error
        return pandas.DataFrame(self.rows)

    def to_csv(self, file: str | Path) -> None:
        """Write the rows as a CSV file; raises PellucidError if it cannot be written."""
        write_csv(file, self.rows)


def write_csv(file: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file whose columns are the keys of all rows; raises PellucidError if that fails."""
    import csv
    import io

    from pellucid.base.files import write_atomically

    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode(errors="backslashreplace"))


class Predictor:
    """Base class of predictors: one model's predictions for pictures, also as files in an output folder.

    mode: the mode in which pictures are read, "L" for a network with one input channel. folder_required_reason: the
    reason why `pellucid predict` needs an output folder, for predictions that text does not describe; "" for others.
    writes_files: whether the predictor writes files if it has an output folder.
    """

    mode: Literal["L", "RGB"] = "RGB"
    folder_required_reason: str = ""
    writes_files: bool = True

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if outputs for these pictures would overwrite other files.

        It is called before any picture is read. By default, nothing is checked.
        """

    def read(self, source: Path | bytes, name: str = "") -> "Tensor":
        """Read an image, given as a file or its bytes, as a tensor (C, H, W), by default uint8 in the original size.

        name: the name of the image in messages, by default its path.
        """
        from pellucid.data.images import load_image, read_full_size

        name = name or str(source)
        return load_image(read_full_size(source, name), name, mode=self.mode)

    def frame(self, picture: "Tensor") -> "Tensor":
        """Convert a frame (3, H, W) uint8 of a video or a camera to the format that `read` returns."""
        from pellucid.data.images import luma

        return luma(picture) if self.mode == "L" else picture

    def prepared(self, image: "Tensor") -> "Tensor":
        """Convert an image (3, H, W) uint8 of the data, resized as in training, to the format that `read` returns."""
        return self.frame(image)

    def predict(self, batch: Sequence[tuple[Picture, "Tensor"]]) -> Iterable[Predicted | PellucidError]:
        """Yield, for each picture of a batch in order, its prediction or the error that prevented it.

        By default, pictures are predicted one by one.
        """
        for picture, image in batch:
            try:
                prediction = self.predict_one(picture, image)
            except PellucidError as error:
                yield error
            else:
                yield prediction

    def predict_one(self, picture: Picture, image: "Tensor") -> Predicted:
        """Return the prediction for a picture; called by the default `predict`. Raises PellucidError if it fails."""
        raise NotImplementedError(f"write {type(self).__name__}.predict or predict_one")

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the JSON values for all pictures, and the file that was written for all of them, or None.

        rows: the values of each picture; by default, the JSON values are {"pictures": rows}.
        """
        return {"pictures": rows}, None


def paths(x: Any) -> str | Path | list[str | Path] | None:
    """Return x as a path, or as a list of paths, for `pictures_of`; None for any other object."""
    if isinstance(x, (str, PathLike)):
        if not str(x):
            raise PellucidError("the path of the picture is empty; give a file or a folder")
        return Path(x)
    if isinstance(x, (list, tuple)) and x and all(isinstance(item, (str, PathLike)) for item in x):
        return [Path(item) for item in x]
    return None


def valid_predictions(
    predictor: Predictor,
    pictures: Generator[Picture, None, None],
    faults: dict[str, str],
    source: str,
    one_by_one: bool = False,
) -> Iterator[Predicted]:
    """Yield the prediction for each picture that can be read.

    faults: a dict to which the errors of the other pictures are added by file. source: the name under which an error
    that ends a video or a camera early is added; such an error before the first image is raised. one_by_one: whether to
    predict in batches of one picture, as for a camera.
    """
    for picture, outcome in predictions_and_errors(predictor, pictures, faults, source, one_by_one):
        if isinstance(outcome, PellucidError):
            faults[picture.file] = str(outcome)
        else:
            yield outcome


def predictions_and_errors(
    predictor: Predictor,
    pictures: Generator[Picture, None, None],
    faults: dict[str, str],
    source: str,
    one_by_one: bool = False,
) -> Iterator[tuple[Picture, Predicted | PellucidError]]:
    """Yield each picture, in order, with its prediction or the error that prevented it.

    faults, source, one_by_one: as for `valid_predictions`, except that only the error which ends a video or a camera is
    added to `faults`. Which pictures share a batch depends on their positions, not on which of them can be read.
    """
    for batch in _batches(pictures, faults, source, one_by_one):
        readable = [(picture, image) for picture, image in batch if not isinstance(image, PellucidError)]
        predictions = zip(readable, predictor.predict(readable) if readable else (), strict=True)
        for picture, image in batch:
            yield picture, image if isinstance(image, PellucidError) else next(predictions)[1]
        next(predictions, None)  # raises if there are more predictions than pictures


def _batches(
    pictures: Generator[Picture, None, None], faults: dict[str, str], source: str, one_by_one: bool
) -> Iterator[list[tuple[Picture, "Tensor | PellucidError"]]]:
    batch: list[tuple[Picture, Tensor | PellucidError]] = []
    n_pixels, has_begun = 0, False
    with closing(pictures):
        try:
            for picture in pictures:
                has_begun = True
                try:
                    image = picture.read()
                    n_pixels += image[0].numel()
                except PellucidError as error:
                    image = error
                batch.append((picture, image))
                if one_by_one or len(batch) == BATCH_SIZE or n_pixels >= BATCH_PIXELS:
                    yield batch
                    batch, n_pixels = [], 0
        except PellucidError as error:
            if not has_begun:
                raise
            faults[source] = str(error)
    if batch:
        yield batch


def pictures_of(source: str | Path | Sequence[str | Path], predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the images of a file, a folder, a video, or a list of image files, which are named as in the list.

    Before the first image, `predictor.check` is called, except for a video. Raises PellucidError for a source without
    images.
    """
    if not isinstance(source, (str, Path)):
        files = [Path(file) for file in source]
        video = files[0].is_file() and files[0].suffix.lower() not in STILL_SUFFIXES
        if len(files) > 1 or not (video or files[0].is_dir()):
            yield from _pictures_of_files(files, predictor, [str(file) for file in source])
            return
        source = files[0]
    source = Path(source)
    if not source.exists():
        raise PellucidError(f"{source} is missing; give {SOURCE_HELP}")
    if source.is_dir():
        files = sorted(file for file in source.iterdir() if is_picture(file.name))
        inner = pictures_below(source)
        left_out_text = f"{plural(len(inner), 'image')} in subfolders, such as {inner[0]}" if inner else ""
        if not files:
            suffixes = ", ".join(PICTURE_SUFFIXES[:3])
            advice = (
                f"it has {left_out_text}; give a subfolder" if inner else f"give a folder with {suffixes} files in it"
            )
            raise PellucidError(f"{source} contains no images; {advice}")
        if inner:
            note(f"{source}: not read: {left_out_text}")
        yield from _pictures_of_files(files, predictor, [file.name for file in files])
    elif source.suffix.lower() in PICTURE_SUFFIXES:
        yield from _pictures_of_files([source], predictor, [source.name])
    else:
        from pellucid.data.video import video_frames

        with closing(video_frames(source)) as frames:
            for frame in frames:
                yield _picture_of_frame(f"{source.stem}-{frame.number:06d}", frame, predictor)


def camera_pictures(number: int, predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the newest frame of a camera each time a picture is requested."""
    from pellucid.data.video import camera_frames

    with closing(camera_frames(number)) as frames:
        for frame in frames:
            yield _picture_of_frame(f"camera-{frame.number:06d}", frame, predictor)


def _pictures_of_files(files: Sequence[Path], predictor: Predictor, message_names: Sequence[str]) -> Iterator[Picture]:
    stems = [file.stem for file in files]
    names = [file.stem if stems.count(file.stem) == 1 else file.name for file in files]
    predictor.check(names, files)
    for name, file, message_name in zip(names, files, message_names, strict=True):
        yield Picture(name, message_name, partial(predictor.read, file))


def _picture_of_frame(name: str, frame: Any, predictor: Predictor) -> Picture:
    return Picture(name, name, partial(predictor.frame, frame.picture), frame.number)
