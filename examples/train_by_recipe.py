"""Train with the recipe `digits` and two changed settings, and print the accuracy."""

import pellucid

recipe = pellucid.load_recipe("digits", {"train.epochs": 20, "optimizer.lr": 0.005})
run = pellucid.train(recipe)
print(f"{run.metrics['accuracy']:.2%} of {run.metrics['n']} held-out digits; open {run.report}")
