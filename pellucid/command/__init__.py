"""What all commands share: arguments, output, files, and the loop over pictures."""
