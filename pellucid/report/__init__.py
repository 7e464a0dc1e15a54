"""Pages and figures of reports: HTML and matplotlib figures from plain values."""
