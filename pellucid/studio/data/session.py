"""The requests of the view Data: the data of a recipe, of a run, or of the user's own that the studio may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.recipe.recipe import load_recipe, recipe_of_run
from pellucid.shipped_files import recipe_names
from pellucid.studio.messages import Reply

if TYPE_CHECKING:
    from pellucid.recipe.data_page import DataPage
    from pellucid.recipe.recipe import Recipe
    from pellucid.studio.view import Library


MAX_LISTED = 200  # lines of what is left out of a part, and of copies


@dataclass(frozen=True)
class OpenData:
    """data.open: read the names of the data that can be shown."""


@dataclass(frozen=True)
class ShowData:
    """data.show: name: one of the names in the answer to data.open."""

    name: str


class DataSession:
    """One tab's latest page of data."""

    def __init__(self, library: Library) -> None:
        self.runs = library.runs
        self._latest: tuple[str, DataPage | None] = ("", None)

    def open(self, request: OpenData) -> Reply:
        """Return the paths of the user's own data, the runs, the newest first, and the recipes."""
        return Reply({"own": self.runs.data_paths, "runs": self.runs.names(), "recipes": recipe_names()}, {})

    def show(self, request: ShowData) -> Reply:
        """Return the page of data as JSON values, with its pictures as data URIs."""
        name, page = self._latest
        if name != request.name or page is None:
            from pellucid.recipe.material import missing_sources
            from pellucid.recipe.shown_data import page_of_recipe  # imports matplotlib

            recipe = self._recipe(request.name)
            if missing_sources(recipe.data.name)[0]:  # a look must not begin a download
                raise PellucidError(
                    f"{recipe.data.name} is missing: `pellucid data get {recipe.data.name}` downloads it"
                )
            page = page_of_recipe(recipe)
            self._latest = (request.name, page)
        pictures = {part: [[caption, *picture] for caption, picture in drawn] for part, drawn in page.pictures.items()}
        lists = [[title, lines[:MAX_LISTED]] for title, lines in page.lists()]
        fields = {
            "faults": page.faults,
            "tables": page.tables(),
            "lists": lists,
            "pictures": pictures,
            "legend": page.legend,
        }
        return Reply({"name": request.name, "page": page.to_json(), **fields}, {})

    def _recipe(self, name: str) -> Recipe:
        """Return the recipe of the data; raises PellucidError for a run whose data may not be read."""
        if name in self.runs.data_paths:
            from pellucid.recipe.shown_data import planned_recipe

            return planned_recipe(name)
        runs = self.runs.names()
        check_known("no data", name, [*runs, *recipe_names(), *self.runs.data_paths])
        if name not in runs:
            return load_recipe(name)
        from pellucid.recipe.model_data import check_data_in_run_folder

        path = self.runs.path(name)
        recipe = recipe_of_run(path)
        if self.runs.data_of(path) is None:
            try:
                check_data_in_run_folder(recipe.data.name, path / "recipe.toml")
            except PellucidError as error:
                raise PellucidError(f"{error}; start `pellucid studio` with it") from error
        return recipe


HANDLERS: dict[str, tuple[type, Callable[[DataSession, Any], Reply]]] = {
    "data.open": (OpenData, DataSession.open),
    "data.show": (ShowData, DataSession.show),
}
