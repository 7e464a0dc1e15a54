"""Check the sdist and the wheel in dist/, and install the wheel with each Python at hand (part of `make release`)."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ("recipes", "pretrained")  # folders of the checkout that the wheel contains as pellucid/NAME
# Limits of the wheel, above what it has today: 950 files and 41 MB, of which 40 MB are the shipped weights.
MAX_FILES, MAX_MEGABYTES = 1_000, 46
PYTHONS = ("python3.11", "python3.12", "python3.13")  # those of them that are at hand install the wheel
IN_SDIST = ("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "docs/index.md", "tests/conftest.py")


def released_version() -> str:
    """Return the version of the package; end with a message unless CHANGELOG.md begins with it and a date."""
    (version,) = re.findall(
        r'^__version__ = "(.+)"$', (ROOT / "pellucid/base/version.py").read_text("utf-8"), re.MULTILINE
    )
    newest = re.findall(r"^## (\d.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[:1]
    check(
        bool(newest and re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", newest[0])),
        f"CHANGELOG.md begins with the versions {newest}, not with {version} and its date",
    )
    return version


def package_files() -> set[str]:
    """Return the names in the wheel of all files of the package and of its data."""
    folders = {"pellucid": "pellucid", **{name: f"pellucid/{name}" for name in DATA}}
    return {
        f"{inside}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in folders.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }


def check_wheel(wheel: Path, version: str) -> None:
    """End with a message unless the wheel has exactly the package, its data and its metadata, within the limits."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        fields = archive.read(f"pellucid-{version}.dist-info/METADATA").decode().splitlines()
    metadata = {name for name in names if name.startswith(f"pellucid-{version}.dist-info/")}
    megabytes = wheel.stat().st_size / 1e6
    check(len(names) <= MAX_FILES, f"{wheel.name} has {len(names)} files, more than {MAX_FILES}")
    check(megabytes <= MAX_MEGABYTES, f"{wheel.name} has {megabytes:.1f} MB, more than {MAX_MEGABYTES}")
    for field in ("Author: ", "Keywords: ", "Classifier: ", "License-Expression: ", "Requires-Python: "):
        check(any(line.startswith(field) for line in fields), f"the metadata of {wheel.name} lack {field.strip()}")
    print(f"{wheel.name}: {len(names)} files, {megabytes:.1f} MB")
    compare(wheel, names - metadata, package_files())
    check(any(name.endswith("/LICENSE") for name in metadata), f"{wheel.name} lacks the license")


def check_sdist(sdist: Path, version: str) -> None:
    """End with a message unless the sdist contains the package, its data and the files in IN_SDIST."""
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"pellucid-{version}/") for name in archive.getnames()}
    expected = {re.sub(rf"^pellucid/({'|'.join(DATA)})/", r"\1/", name) for name in package_files()}
    compare(sdist, names & expected, expected)
    compare(sdist, names & {*IN_SDIST}, {*IN_SDIST})


def pythons() -> list[str]:
    """Return the supported Pythons that run here, or else this one."""
    found = [path for name in PYTHONS if (path := shutil.which(name)) is not None]
    running = [path for path in found if subprocess.run([path, "--version"], check=False).returncode == 0]
    return running or [sys.executable]


def check_installed(wheel: Path, version: str, python: str) -> None:
    """Install the wheel into an empty environment; end with a message unless its version and `pellucid demo` work."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder) / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        run(python, "-m", "venv", scripts.parent, cwd=folder)
        run(scripts / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
        output = run(scripts / "pellucid", "--version", cwd=folder)
        check(output == f"pellucid {version}\n", f"`pellucid --version` printed {output!r}")
        print(run(scripts / "pellucid", "demo", cwd=folder))
        check((Path(folder) / "runs/digits-1/report.html").is_file(), "`pellucid demo` wrote no report")


def run(*command: str | Path, cwd: str) -> str:
    """Return the standard output of a command; raise CalledProcessError unless it exits with 0."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(file: Path, actual: set[str], expected: set[str]) -> None:
    """End with a message about `file` unless both sets of names are equal."""
    missing, surplus = sorted(expected - actual), sorted(actual - expected)
    check(not missing and not surplus, f"{file.name} lacks {missing[:10]} and has {surplus[:10]}, which it should not")


def check(condition: bool, message: str) -> None:
    """End with a message unless the condition holds."""
    if not condition:
        sys.exit(f"release: {message}")


def main() -> None:
    """Check dist/, which must contain only the wheel and the sdist of this version."""
    version = released_version()
    wheel, sdist = ROOT / f"dist/pellucid-{version}-py3-none-any.whl", ROOT / f"dist/pellucid-{version}.tar.gz"
    compare(ROOT / "dist", {file.name for file in (ROOT / "dist").iterdir()}, {wheel.name, sdist.name})
    check_wheel(wheel, version)
    check_sdist(sdist, version)
    for python in pythons():
        print(f"Installing {wheel.name} with {python}")
        check_installed(wheel, version, python)
    print(f"dist/ holds pellucid {version}: {wheel.name}, {sdist.name}")


if __name__ == "__main__":
    main()
