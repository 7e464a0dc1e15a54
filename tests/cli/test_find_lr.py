"""`pellucid find-lr` suggests a learning rate for a recipe."""

from pathlib import Path

from tests.cli.conftest import Cli


def test_a_learning_rate_and_its_plot_are_written_for_a_recipe(cli: Cli, tmp_path: Path) -> None:
    result = cli("find-lr", "digits", "--steps", "40", "--out", str(tmp_path / "lr.png"))
    assert result.code == 0, result.err
    assert "digits: the loss falls fastest at" in result.out
    assert "try optimizer.lr=" in result.out
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    output = cli("find-lr", "digits", "--steps", "40", "--json").json
    assert output["rates"][0] < output["suggestion"] <= output["lowest"] <= output["rates"][-1]
    assert not Path("runs").exists()


def test_missing_arguments_are_reported(cli: Cli) -> None:
    assert "the recipe or the task comes first" in cli("find-lr", "train.epochs=3").error_line
    assert "detect needs the DATA" in cli("find-lr", "detect").error_line
    assert "does not end in .png or .svg" in cli("find-lr", "digits", "--out", "lr.txt").error_line
