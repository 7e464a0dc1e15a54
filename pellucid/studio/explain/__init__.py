"""The view Explain: explanations of a model's output for a picture, by several methods side by side."""

from pathlib import Path

from pellucid.studio.explain.session import HANDLERS, ExplainSession
from pellucid.studio.view import View

EXPLAIN = View("explain", "Explain", Path(__file__).parent / "page", ExplainSession, HANDLERS)
