"""What every other part may use, and what uses none of them: errors, files, limits, settings, text."""
