"""All limits of readers are in one module, and SECURITY.md lists each with its value."""

import re
from pathlib import Path

import pellucid
from pellucid.base import limits

PACKAGE = Path(pellucid.__file__).parent
LINE = re.compile(r"(?P<name>[A-Z_]+) = (?P<value>[^#]+)  # (?P<meaning>.+)")
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
READERS = (  # of files and connections of others
    "data", "opening", "run", "studio/serve", "weights", "extend/config.py", "base/files.py", "base/toml_reader.py",
    "network/bounds.py", "studio/messages.py",
)  # fmt: skip
OWN_LIMIT = re.compile(r"^(_?MAX_\w*(?:BYTES|PIXELS|NODES|DEPTH|LEVELS|MEMORY)\w*) = ", re.MULTILINE)


def displayed(name: str, value: int) -> str:
    """Return a limit as text, bytes in their largest unit."""
    if name.endswith(("_BYTES", "_MEMORY")):
        for size, unit in UNITS:
            if value >= size and value % size == 0:
                return f"{value // size:,} {unit}"
        return f"{value:,} bytes"
    exponent = value.bit_length() - 1
    return f"2^{exponent}" if value == 1 << exponent and value >= 1 << 20 else f"{value:,}"


def limits_table() -> str:
    """Return the tables of SECURITY.md, one for each section of the module."""
    text = Path(limits.__file__).read_text().partition("\n# Networks that a file describes")[2]
    lines = ["### Networks that a file describes"]
    for line in ("\n# N" + text).partition("def scaled_limit")[0].splitlines():
        if match := LINE.fullmatch(line):
            if not lines[-1].startswith("|"):
                lines += ["", "| limit | value | of what |", "|---|---|---|"]
            value = displayed(match["name"], getattr(limits, match["name"]))
            lines.append(f"| `{match['name']}` | {value} | {match['meaning']} |")
        elif line.startswith("# ") and lines[-1].startswith("|"):
            lines += ["", f"### {line.removeprefix('# ').partition(',')[0]}"]
    return "\n".join(lines) + "\n"


def test_security_lists_every_limit() -> None:
    listed = (PACKAGE.parent / "SECURITY.md").read_text().partition("\n## Limits\n\n")[2].partition("\n## ")[0]
    assert listed.strip() == limits_table().strip()
    names = re.findall(r"^\| `([A-Z_]+)` \|", listed, re.MULTILINE)
    assert sorted(names) == sorted(name for name in vars(limits) if name.startswith("MAX_") or name == "BATCH_FACTOR")


def test_readers_have_no_limits_of_their_own() -> None:
    files = [
        path for name in READERS for path in ((PACKAGE / name).rglob("*.py") if "." not in name else [PACKAGE / name])
    ]
    assert len(files) > 100
    found = {str(path.relative_to(PACKAGE)): OWN_LIMIT.findall(path.read_text()) for path in files}
    assert not {name: limits for name, limits in found.items() if limits and "augment" not in name}
