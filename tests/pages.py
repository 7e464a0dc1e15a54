"""A check that HTML pages contain no script other than the one of this package."""

from pathlib import Path

import pellucid.report

SCRIPT = (Path(pellucid.report.__file__).parent / "templates" / "pointer.js").read_text(encoding="utf-8").strip()


def without_script(text: str) -> str:
    """Return a page without its only script, which must equal the script of the package."""
    before, result, after = text.partition(f"<script>\n{SCRIPT}</script>")
    assert result
    assert "<script" not in before + after
    return before + after
