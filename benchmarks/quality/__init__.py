"""What a training reaches in a given processor time: Pellucid's commands beside other people's libraries."""
