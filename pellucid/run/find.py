"""What MODEL means wherever one is asked for: a run folder, a weights file, or the name of a pretrained model."""

from pathlib import Path

from pellucid import assets
from pellucid.errors import PellucidError, nearest

MODEL_HELP = "a run folder, a weights file, or a pretrained model's name"


def weights_file(model: str) -> Path:
    """Return the weights that MODEL names; PellucidError, with the nearest name, when there are none.

    Of a run folder these are the best weights where a validation part chose them, else the last.
    """
    if model in assets.pretrained_names():
        return assets.pretrained_file(model)
    path = Path(model)
    if path.is_dir():
        for kind in ("best", "last", "previous"):
            file = path / "weights" / f"{kind}.safetensors"
            if file.is_file():
                return file
        raise PellucidError(f"{path} holds no weights/last.safetensors; give a run folder that `pellucid train` wrote")
    if path.is_file():
        return path
    if model in assets.recipe_names():
        raise PellucidError(f"{model} is a recipe without trained weights; train it and give its run folder")
    runs = [str(run) for run in sorted(Path("runs").glob("*")) if run.is_dir()]
    hint = nearest(model, [*assets.pretrained_names(), *runs])
    raise PellucidError(f"no model {model!r}{hint}; give {MODEL_HELP}")
