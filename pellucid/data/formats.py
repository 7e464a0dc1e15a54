"""The names of the annotation formats, for help texts and messages; importing it takes no time."""

ANNOTATION_FORMATS = "Pascal VOC, COCO, YOLO or labelme"
# As `pellucid data convert --to` takes them.
FORMAT_NAMES = tuple(title.split()[-1].lower() for title in ANNOTATION_FORMATS.replace(" or ", ", ").split(", "))
