"""What the shipped models are made for, as text of their cards."""

COLOURS_MADE_FOR = """Made for photos like those of {data} (`pellucid colorize {name} PHOTO --out DIR`).
They are resized to a shorter side of {side} pixels for the network, whose colours are then enlarged: small things share
the colours around them. What it has not seen, such as pictures of a microscope, it may colour worse than grey.
Colours are guesses: what has no usual colour, such as clothes and cars, mostly stays near grey, which PSNR, SSIM and
CIEDE2000 favour."""
MADE_FOR = {  # by the name of the model, or else of its data
    "camvid": "Made for road scenes seen from a car, 240x180 or somewhat larger (`pellucid segment camvid PHOTO --out "
    "DIR`); anything else\ngets these classes too. Those images are one scene of a drive that it has seen other parts "
    "of: expect less of other\ndrives. Poles and signs, a few pixels wide at this size, it mostly misses.",
    "faces": "Made for upright faces that fill the image (`pellucid keypoints faces CROP`); a photograph with a small "
    "face, or\nwith several, gets 68 points that mean nothing. The images are frames of videos, and for 59 % of "
    "those of val the training\ndata hold a frame of the same clip: expect a larger error on other people.",
    "bccd": "Made for blood smears under a microscope as in the data: 640x480, stained, some 10 to 20 cells of 100 "
    "pixels (`pellucid\ndetect bccd PHOTO --out DIR`). Other magnifications, stains and cameras it has not seen. In "
    "some of the images red cells\nare not labelled, or twice: its count of red cells is no medical measurement.",
    "pennfudan": "Made for people who stand or walk upright, seen whole from the street, 20 pixels high or more "
    "(`pellucid detect pennfudan\nPHOTO --out DIR`). Its 120 training images are of two campuses: people who sit, lie, "
    "or are cut off it often misses.",
    "mnist": "Made for grey 28x28 digits laid out as MNIST lays them out; `pellucid predict` brings a photograph or "
    "drawing into\nthat form. Other pictures get one of the ten digits too, with a probability that means nothing;\n"
    "some are said to be unlike anything it was trained on (docs/unfamiliar.md).",
    "cifar10": "Made for 32x32 colour pictures of the ten classes, and as a backbone for others: "
    "`start.weights=cifar` in a recipe.\nAny other picture gets one of the ten classes too, with a probability that "
    "means nothing;\nsome are said to be unlike anything it was trained on (docs/unfamiliar.md).",
    "vit-tiny": "Made for 32x32 colour pictures of the ten classes, and for seeing how a vision transformer decides "
    "(docs/how-to/open.md). As a\nbackbone, and for accuracy, `cifar` is better. Any other picture gets one of the ten "
    "classes too, with a probability\nthat means nothing; some are said to be unlike anything it was trained on "
    "(docs/unfamiliar.md).",
    "signs": "Made for square colour pictures of one hand before a plain ground, as in the data; a hand in front of a "
    'room, or two hands,\nis not what it has seen. `pellucid gestures predict` answers "unsure" below the calibrated '
    "probability that the file holds.\nTemperature and threshold were fitted on the images above, so what `pellucid "
    "evaluate signs` says of calibration and\ncoverage there flatters; the accuracy does not depend on them.",
}
