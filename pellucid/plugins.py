"""Plugins: installed packages that register their parts when they are imported."""

from importlib.metadata import entry_points

from pellucid.errors import PellucidError

GROUP = "pellucid.plugins"  # of entry points, whose values are modules
_LOADED: list[str] = []


def load_plugins() -> None:
    """Import the modules of all installed plugins, once.

    A package names its module in its pyproject.toml, `name = "module"` in `[project.entry-points."pellucid.plugins"]`,
    and the module calls `pellucid.register`. Raises PellucidError, naming the plugin, for an error in its module.
    """
    if _LOADED:
        return
    _LOADED.append(GROUP)  # first, since a plugin may look up parts while it is imported
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            _LOADED.clear()
            why = " ".join(str(error).split()) or type(error).__name__
            raise PellucidError(
                f"the plugin {entry.name!r} cannot be loaded ({why}); update or uninstall it"
            ) from error
