"""The names of the annotation formats, for help texts and messages, in a module that imports nothing."""

ANNOTATION_FORMATS = "Pascal VOC, COCO, YOLO or labelme"
# The values of `pellucid data convert --to`.
FORMAT_NAMES = tuple(title.split()[-1].lower() for title in ANNOTATION_FORMATS.replace(" or ", ", ").split(", "))
