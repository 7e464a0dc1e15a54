"""Class folders that are read with a check of their pictures: `data.check` in a recipe."""
