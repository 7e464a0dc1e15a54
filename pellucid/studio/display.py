"""Display of results in notebooks: as views of the studio if anywidget is installed; predictions also as pictures."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

# The functions of `studio.notebook` that return a widget, by the module and the name of the result's type.
WIDGETS = {
    ("pellucid.trace", "Trace"): "of_trace",
    ("pellucid.predictor", "PredictionList"): "of_predictions",
    ("pellucid.run.history", "History"): "of_history",
    ("pellucid.doctor.diagnosis", "Diagnosis"): "of_diagnosis",
}


def register() -> None:
    """Register the formatters with the running shell of IPython, if there is one."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return
    shell.display_formatter.formatters["text/html"].for_type_by_name("pellucid.predictor", "PredictionList", _stills)
    if find_spec("anywidget") is None:
        return
    for (module, name), function in WIDGETS.items():
        shell.display_formatter.mimebundle_formatter.for_type_by_name(module, name, _bundle(function))


def _bundle(function: str) -> Callable[..., Any]:
    """Return a formatter of a widget; it returns None, for the result's own HTML, if no view shows the result."""

    def bundle(result: Any, **_: Any) -> Any:
        from pellucid.base.errors import PellucidError
        from pellucid.studio import notebook

        try:
            return getattr(notebook, function)(result)._repr_mimebundle_()
        except PellucidError:
            return None

    return bundle


def _stills(predictions: Any) -> str | None:
    from pellucid.studio.stills import stills

    return stills(predictions)
