"""`pellucid find-lr`: a learning rate for a recipe."""

from pathlib import Path

from tests.cli.conftest import Say


def test_a_learning_rate_and_its_plot_are_written_for_a_recipe(say: Say, tmp_path: Path) -> None:
    said = say("find-lr", "digits", "--steps", "40", "--out", str(tmp_path / "lr.png"))
    assert said.code == 0, said.err
    assert "digits: the loss falls fastest at" in said.out
    assert "try optimizer.lr=" in said.out
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    output = say("find-lr", "digits", "--steps", "40", "--json").json
    assert output["rates"][0] < output["suggestion"] <= output["lowest"] <= output["rates"][-1]
    assert not Path("runs").exists()


def test_missing_arguments_are_reported(say: Say) -> None:
    assert "the recipe or the task comes first" in say("find-lr", "train.epochs=3").complaint
    assert "detect needs the DATA" in say("find-lr", "detect").complaint
    assert "does not end in .png or .svg" in say("find-lr", "digits", "--out", "lr.txt").complaint
