"""Small data sets with one trap each, and a valid twin of each: see README.md."""
