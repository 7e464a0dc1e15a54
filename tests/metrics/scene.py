"""Detections and objects of one image with every kind of error and overlaps by hand; classes: 0 cell, 1 plate."""

import torch

from pellucid.ops.image_objects import Detections, Objects

CLASSES = ("cell", "plate")
OBJECTS = Objects(
    torch.tensor(
        [
            [0.0, 0.0, 40.0, 40.0],
            [100.0, 0.0, 140.0, 40.0],
            [200.0, 0.0, 240.0, 40.0],
            [0.0, 100.0, 40.0, 140.0],
            [100.0, 100.0, 140.0, 140.0],
            [200.0, 100.0, 240.0, 140.0],
            [300.0, 0.0, 320.0, 20.0],
            [300.0, 100.0, 340.0, 140.0],
        ]
    ),
    torch.tensor([0, 0, 1, 0, 1, 0, 1, 1]),
    crowd=torch.tensor([False] * 5 + [True, False, False]),
)
DETECTIONS = Detections(
    torch.tensor(
        [
            [0.0, 0.0, 40.0, 36.0],  # IoU 0.9 with object 0
            [0.0, 2.0, 40.0, 40.0],  # IoU 0.95 with object 0, which is already matched
            [110.0, 0.0, 150.0, 40.0],  # IoU 1200 / 2000 with object 1
            [200.0, 0.0, 240.0, 40.0],  # IoU 1 with object 2 of another class
            [20.0, 100.0, 60.0, 140.0],  # IoU 800 / 2400 with object 3
            [400.0, 300.0, 440.0, 340.0],  # overlaps no object
            [200.0, 100.0, 230.0, 140.0],  # inside the crowd
            [120.0, 100.0, 160.0, 140.0],  # IoU 1/3 with object 4 of another class
            [300.0, 100.0, 340.0, 140.0],  # IoU 1 with object 7
            [0.0, 0.0, 40.0, 40.0],  # IoU 1 with object 0, with a low score
        ]
    ),
    torch.tensor([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.1]),
    torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 1, 0]),
)
