"""Rules: how one layer hands back what arrives from above."""

from pellucid.sweep import Rule, Rules, gradient

__all__ = ["Rule", "Rules", "gradient"]
