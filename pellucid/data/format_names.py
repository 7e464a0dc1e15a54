"""The names of the annotation formats, for help texts and messages, in a module that imports nothing."""

# The title of each format, by its name, which is also that of its module in pellucid.data.annotations. A folder has the
# first format whose files it contains: CVAT before VOC, which takes every XML file, and YOLO, which is images, last.
TITLES = {
    "cvat": "CVAT",
    "voc": "Pascal VOC",
    "coco": "COCO",
    "labelme": "labelme",
    "deeplabcut": "DeepLabCut",
    "yolo": "YOLO",
}
*_FIRST_TITLES, _LAST_TITLE = TITLES.values()
ANNOTATION_FORMATS = f"{', '.join(_FIRST_TITLES)} or {_LAST_TITLE}"
WRITTEN_FORMATS = ("voc", "coco", "yolo", "labelme", "masks")  # the values of `pellucid data convert --to`
