"""The task, with its methods for commands, recipes and reports."""

from pathlib import Path
from typing import ClassVar

from pellucid.predictor import Predicted, Predictor
from pellucid.task import Evaluation, Explained, Merit, Option, OwnRecipe, Reported, Task


class Uprightness(Task):
    """Prediction of the angle by which a picture is turned."""

    name = "uprightness"
    model = "model of angles"
    verb = "turned"
    merits: ClassVar = (Merit("angle_error", "mean error", "degrees", is_error=True),)
    options: ClassVar = {"evaluate": (Option("worst", "also list the N worst pictures", int, "N"),)}

    def trains(self, objective):
        from .objective import Angle

        return isinstance(objective, Angle)

    def objectives(self):
        from .objective import angle

        return {"angle": angle}

    def metrics(self, objective):
        from .objective import angle_error

        return [angle_error]

    def read(self, objective, data, root):
        from .data import ANGLES_FILE, read

        folder = Path(data.name)
        return read(folder, data.size, data.mode) if (folder / ANGLES_FILE).is_file() else None

    def recipe_for(self, data, root):
        return OwnRecipe("upright", {"data.size": 24})

    def evaluate(self, model, name, data, **options):
        from .data import read
        from .objective import angle_error

        channels, size, _ = model.input_shape
        _, test = read(Path(data or model.preprocess["data"]), size, "L" if channels == 1 else "RGB")
        outputs = model.predict(test.x)
        result = {"angle_error": angle_error(outputs, test.y), "n": len(test.y)}
        lines = [f"mean error {result['angle_error']:.1f} degrees on {result['n']} pictures"]
        if worst := options.get("worst"):
            errors = [angle_error(outputs[k : k + 1], test.y[k : k + 1]) for k in range(len(test.y))]
            result["worst"] = sorted(errors, reverse=True)[:worst]
            lines += [f"{error:.1f} degrees" for error in result["worst"]]
        return Evaluation(result, lines)

    def predictor(self, model, out=None):
        return Angles(model, out)

    def report(self, model, train, test, folder):
        from pellucid.report.sections import Section, TablePart

        outputs = model.predict(test.x)[:, 0]
        rows = [
            (f"picture {k}", f"{float(test.y[k]):.0f}", f"{float(outputs[k]):.0f}") for k in range(min(8, len(test)))
        ]
        table = TablePart("Test pictures", ("picture", "true angle", "predicted"), rows, (1, 2))
        return Reported([Section("angles", "Angles", ["Degrees, counted anticlockwise.", table])])

    def explain(self, model, request, **options):
        from pellucid import load_image
        from pellucid.base.files import make_folder
        from pellucid.explain import explain
        from pellucid.report.figures.heat import heat
        from pellucid.report.write import write_picture

        channels, *size = model.input_shape
        image = load_image(request.image, size=tuple(size), mode="L" if channels == 1 else "RGB")[None]
        method = request.method or "saliency"
        x = model.scaled(image)
        map_ = explain(model.objective.net, model.params["net"], x, method, 0)[0].abs().sum(0)
        folder = make_folder(request.folder())
        files = write_picture(folder, method, heat(x[0].numpy(), map_.numpy(), method), {"map": map_})
        degrees = float(model.predict(image)[0, 0])
        return Explained({"degrees": degrees}, [f"{request.image}: {degrees:.0f} degrees"], folder, files)

    def diagnose(self, case, attempts, device):
        from pellucid.doctor.examination import examine

        from .checks import CHECKS

        return examine(case, CHECKS)

    def onnx(self, model, size, metadata):
        from pellucid.export.onnx_file import onnx_bytes

        return onnx_bytes(model.objective.net, model.params["net"], model.input_shape, model.stats, metadata)


class Angles(Predictor):
    """Predict the angles of pictures; with a folder `out`, also write the pictures turned back."""

    def __init__(self, model, out):
        self.model, self.out = model, out
        self.mode = "L" if model.input_shape[0] == 1 else "RGB"

    def predict(self, batch):
        import torch
        from PIL import Image

        for picture, image in batch:
            resized = torch.nn.functional.interpolate(image[None].float() / 255, self.model.input_shape[1:])
            degrees = float(self.model.predict(resized)[0, 0])
            row = {"image": picture.file, "degrees": degrees}
            if self.out is not None:
                self.out.mkdir(parents=True, exist_ok=True)
                upright = Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).rotate(-degrees)
                upright.save(self.out / f"{picture.name}-upright.png")
            yield Predicted(row, f"{picture.file}: turned by {degrees:.0f} degrees")
