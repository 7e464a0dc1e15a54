"""Train with the recipe `digits` and two changed settings, and print the accuracy."""

import pellucid

run = pellucid.train("digits", **{"train.epochs": 20, "optimizer.lr": 0.005})
print(f"{run.metrics['accuracy']:.2%} of {run.metrics['n']} held-out digits; open {run.report}")
