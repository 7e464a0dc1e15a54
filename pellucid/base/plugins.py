"""Loading of code that registers parts: plugins in installed packages, and files of the user."""

import sys
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from pellucid.base.errors import PellucidError

ENTRY_POINT_GROUP = "pellucid.plugins"  # the group of entry points; their values are modules
_LOADED_GROUPS: list[str] = []
_FILES_RUN: dict[Path, None] = {}  # the files that `run_file` has run, in order


def load_plugins() -> None:
    """Import the modules of all installed plugins, once.

    A package names its module in its pyproject.toml, `name = "module"` in `[project.entry-points."pellucid.plugins"]`,
    and the module calls `pellucid.register`. Raises PellucidError, naming the plugin, for an error in its module.
    """
    if _LOADED_GROUPS:
        return
    _LOADED_GROUPS.append(ENTRY_POINT_GROUP)  # first, since a plugin may look up parts while it is imported
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:
            # an error, as a model with a part of this plugin would otherwise be refused for a part that is unknown
            _LOADED_GROUPS.clear()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PellucidError(
                f"the plugin {entry.name!r} cannot be loaded ({reason}); update or uninstall it"
            ) from error


def missing_text(module: str) -> str:
    """Return the message for a module of the package that an installation lacks."""
    return f"this needs {module}, which this installation lacks; install the whole package"


def run_file(path: Path) -> None:
    """Run a user's file as a module; the parts that it registers remain registered.

    Raises PellucidError for a missing file, and for an error in it.
    """
    if not path.is_file():
        raise PellucidError(f"--custom: no file {str(path)!r}; give the file that registers your own parts")
    spec = spec_from_file_location(f"custom.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None  # both exist for a name that ends in .py
    module = sys.modules[spec.name] = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as for a script, which can import modules from its folder
    try:
        spec.loader.exec_module(module)
    except PellucidError:
        raise
    except Exception as error:
        raise PellucidError(f"--custom {path} raised {type(error).__name__}: {error}; --debug shows where") from error
    finally:
        sys.path.pop(0)
    _FILES_RUN[path.resolve()] = None


def files_run() -> list[Path]:
    """Return the user's files that this process has run, which its child processes must run too."""
    return [*_FILES_RUN]
