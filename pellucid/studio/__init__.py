"""The studio: a local page on which networks are run, explained and trained, with one subpackage for each view."""
