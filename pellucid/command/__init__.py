"""Code that the commands share: arguments, output, files, and the loop over pictures."""
