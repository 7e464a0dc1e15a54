"""What every page may hold: one script, the one of this package, and nothing else that runs."""

from pathlib import Path

import pellucid.report

SCRIPT = (Path(pellucid.report.__file__).parent / "templates" / "pointer.js").read_text(encoding="utf-8").strip()


def without_script(text: str) -> str:
    """Return a page without its one script, which must be that of the package to the letter."""
    before, result, after = text.partition(f"<script>\n{SCRIPT}</script>")
    assert result
    assert "<script" not in before + after
    return before + after
