"""The registry of tasks: each shipped model belongs to one task, and names and options of tasks are unique."""

import inspect
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Sequential
from pellucid.layers import Dense, Flatten
from pellucid.losses import AuxiliaryCrossEntropy
from pellucid.model import Model
from pellucid.task import Evaluation, Option, Task, register_task, task_of, tasks

TASK_OF_MODEL = {
    "mnist-lenet": "classification", "signs": "classification", "camvid": "segmentation", "bccd": "detection",
    "pennfudan": "detection", "faces": "keypoints", "colorize": "colorization",
}  # fmt: skip


@pytest.mark.parametrize("name", TASK_OF_MODEL)
def test_shipped_models_belong_to_their_tasks(name: str) -> None:
    assert task_of(Model.load(shipped_files.pretrained_file(name))).name == TASK_OF_MODEL[name]


def test_every_folder_of_a_task_is_registered() -> None:
    names = {"classification", "segmentation", "keypoints", "generation", "detection", "translation", "colorization"}
    names |= {"multi-label classification", "regression"}
    assert {task.name for task in tasks()} == names


def make_task(name: str, *options: Option) -> Task:
    class Other(Task):
        model: ClassVar[str] = "other"

        def matches(self, model: Any) -> bool:
            return False

        def evaluate(self, model: Any, name: str, data: str | None, **given: Any) -> Evaluation:
            return Evaluation({}, [])

    Other.name, Other.options = name, {"evaluate": options}
    return Other()


def test_another_task_of_the_same_name_or_with_the_same_option_is_refused() -> None:
    tasks()
    with pytest.raises(PellucidError, match="a task 'detection' is registered already"):
        register_task(make_task("detection"))
    with pytest.raises(PellucidError, match="the task 'detection' has the option 'html'; rename it"):
        register_task(make_task("counting", Option("html", "a page", Path)))


def test_a_network_with_three_outputs_is_a_classifier() -> None:
    net = Sequential(flat=Flatten(), scores=Fork(main=Dense(4), first=Dense(4), second=Dense(4)))
    model = Model(net, AuxiliaryCrossEntropy(), input_shape=(1, 2, 2))
    assert task_of(model).name == "classification"
    assert task_of(model).class_names(model) == ("0", "1", "2", "3")


def test_the_page_lists_all_methods_and_attributes_of_a_task() -> None:
    page = (Path(__file__).parents[1] / "docs" / "your-own-task.md").read_text(encoding="utf-8")
    section = page.partition("## The methods of a task\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"`(\w+)(\([^`]*\))?`", section))
    public = {name for name in {*vars(Task), *Task.__annotations__} if not name.startswith("_")}
    assert public - listed.keys() == set(), "add these to the table of docs/your-own-task.md, in place of other words"
    for name, arguments in listed.items():
        if arguments and name in public:
            parameters = [
                one for one in inspect.signature(getattr(Task, name)).parameters.values() if one.name != "self"
            ]
            names = [f"**{one.name}" if one.kind is one.VAR_KEYWORD else one.name for one in parameters]
            assert arguments == f"({', '.join(names)})", f"{name} in docs/your-own-task.md"
