"""The names of the annotation formats, for help texts and messages, in a module that imports nothing."""

ANNOTATION_FORMATS = "Pascal VOC, COCO, YOLO, labelme, CVAT or DeepLabCut"
# The values of `pellucid data convert --to`.
_WRITTEN_FORMATS = "Pascal VOC, COCO, YOLO, labelme or masks"
FORMAT_NAMES = tuple(title.split()[-1].lower() for title in _WRITTEN_FORMATS.replace(" or ", ", ").split(", "))
