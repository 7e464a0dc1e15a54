"""Views of the studio, and the models, runs and uploads that all views share."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import shown
from pellucid.model import Model
from pellucid.studio.messages import Reply
from pellucid.studio.opened_files import OpenedFiles
from pellucid.studio.pictures import Uploads
from pellucid.studio.runs import Runs, has_weights
from pellucid.trace import prepared

PLAYGROUND = "playground"  # the name of the network of the view Playground, which ends with its tab


class MadeModel(NamedTuple):
    """A model that a view has made, and an input (1, ...) for it."""

    model: Model
    x: Tensor


class Library:
    """The models that a page can open, by name, the runs that it can train and show, and the uploads.

    load: function of a name that returns a model; each is loaded once. runs: runs whose models are offered too; None
    for the runs of the default folder, which are shown, but not offered as models. shipped: names of further models
    that may be opened, which are not among those that every view lists. first_view: the view that the page opens with,
    by name; "" for one that shows the first model.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        load: Callable[[str], Model],
        runs: Runs | None = None,
        shipped: tuple[str, ...] = (),
        first_view: str = "",
    ) -> None:
        self.names, self.load, self.runs = names, cache(load), Runs() if runs is None else runs
        self.shipped = shipped
        self.first_view = first_view
        self.uploads = Uploads()
        self.files = OpenedFiles()
        self.made = dict[str, MadeModel]()
        self.kept = dict[str, Any]()  # what views keep for a page that connects again, by a random name
        self._has_runs = runs is not None

    def for_tab(self) -> "Library":
        """Return the same library, with `made` of its own: models that views of one tab make for its other views."""
        library = copy.copy(self)
        library.made = {}
        return library

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the offered runs that have weights, except for those that are among the models."""
        if not self._has_runs:
            return ()
        given_paths = {Path(name).resolve() for name in self.names}
        paths = [self.runs.path(name) for name in self.runs.names() if name not in self.names]
        return tuple(path.name for path in paths if path not in given_paths and has_weights(path))

    @property
    def offered(self) -> dict[str, str]:
        """The kind of each model that may be opened, by its name."""
        kinds = dict.fromkeys(self.names, "command line") | dict.fromkeys(self.files.dropped, "dropped")
        kinds |= dict.fromkeys((name for name in self.shipped if name not in kinds), "shipped")
        kinds |= dict.fromkeys(self.trained, "run")
        files = self.runs.model_files() if self._has_runs else []
        return kinds | dict.fromkeys((file for file in files if file not in kinds), "file")

    def open(self, name: str) -> Model:
        """Return a model, or the model of an offered run, read each time because training changes its weights.

        Files that were dropped, and those of the folder of runs, are opened by a process of their own.
        """
        if name in self.made:
            return self.made[name].model
        if name in self.names or name in self.shipped:
            return self.load(name)
        if name in self.files.dropped:
            return self.files.model(self.files.dropped[name], name)
        if self._has_runs and name in self.runs.model_files():
            return self.files.model(self.runs.folder / name, name)
        runs = self.runs.names() if self._has_runs else []
        if name not in runs or not has_weights(self.runs.path(name)):
            hint = "; train it again in the view Playground, and open it from there" if name == PLAYGROUND else None
            raise PellucidError(f"no model {shown(name)}{hint or nearest(name, (*self.names, *runs))}")
        return Model.load(self.runs.path(name))

    def copy(self, name: str) -> Model:
        """Return a copy of a model with copied weights in float64, without regularizers and gradient clipping."""
        model = copy.copy(self.open(name))
        model.params, model.regularizers, model.clip = prepared(model.params, torch.float64), (), None
        return model


@dataclass(frozen=True)
class View:
    """A view of the studio, such as Draw.

    name: its name in URLs, and the first part of the kinds of its messages. title: title of its tab. page: the folder
    of its JavaScript, where `view.js` exports `start(root, server, address)` and view.css is its style. session:
    function of a Library that returns the view's session for one tab of the browser. kinds: for each kind of message,
    the class of its fields, and the function (session, fields) that returns the reply. uses: other views whose
    modules and styles its page imports, by name.
    """

    name: str
    title: str
    page: Path
    session: Callable[[Library], Any]
    kinds: Mapping[str, tuple[type, Callable[[Any, Any], Reply]]]
    uses: tuple[str, ...] = ()
