"""Pascal VOC: one XML file for each image.

Coordinates are read as continuous, as labelImg, CVAT and most tools write them. The files of the VOC challenges, whose
<source><annotation> begins with "PASCAL VOC", count pixels from 1, and xmax and ymax are the last pixels in the box;
1 is therefore subtracted from xmin and ymin. Source: Everingham et al. 2010, "The Pascal Visual Object Classes (VOC)
Challenge", and its development kit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, is_wide_text, make_folder, write_atomically
from pellucid.base.limits import MAX_OBJECTS, MAX_XML_LEVELS
from pellucid.base.text import note
from pellucid.data.annotations.base import (
    Annotations,
    BoxCorners,
    DamageError,
    Faults,
    ImageRecord,
    Instance,
    join_names,
    stated_size,
)
from pellucid.data.annotations.class_masks import BACKGROUND, MAX_MASK_CLASSES, mask_classes, mask_files, voc_colours
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_images_by_part
from pellucid.data.annotations.readings import CORNERS, BoxReadings
from pellucid.data.parts import PART_OF_WORD, matching_part, part_words, standard_part
from pellucid.data.tree import Tree

BOX_TAGS = ("xmin", "ymin", "xmax", "ymax")
_CHALLENGE_PREFIX = "PASCAL VOC"  # beginning of <source><annotation> in files of the VOC challenges
_LIST_FOLDER = "ImageSets/Main/"  # folder of the lists of images
_MASK_LIST_FOLDER = "ImageSets/Segmentation/"  # the same of those with masks of classes


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the XML files of a tree by part; {} if there are none.

    The parts come from the lists ImageSets/Main/PART.txt of image names without suffix; without such lists, from the
    folders of the files. For a name in a list without an XML file, the expected path is returned.
    """
    files = [name for name in tree.names if PurePosixPath(name).suffix.lower() == ".xml"]
    lists = {PurePosixPath(name).stem: name for name in tree.names if _is_list(name)}
    if not (files and any(map(standard_part, lists))):
        return group_images_by_part(files)
    names_by_part: dict[str, tuple[str, ...]] = {}
    file_by_stem = {PurePosixPath(name).stem: name for name in files}
    folder = str(PurePosixPath(files[0]).parent)
    for stem, name in lists.items():
        lines = decode_text(tree.document(name), tree.where(name)).splitlines()
        stems = [line.strip() if line.strip() in file_by_stem else line.split()[0] for line in lines if line.strip()]
        listed_files = tuple(file_by_stem.get(stem, f"{folder}/{stem}.xml") for stem in dict.fromkeys(stems))
        part = matching_part(stem, PART_OF_WORD)
        names_by_part[part] = (*names_by_part.get(part, ()), *listed_files)
    return names_by_part


def _is_list(name: str) -> bool:
    """Return whether a file lists the images of a part, not those of one class, such as cat_train.txt or train_val.txt.

    The latter is the part val of the class train.
    """
    stem = f"/{name}".partition(_LIST_FOLDER)[2].removesuffix(".txt")
    words = part_words(stem)
    is_part_name = not words or (len(words) == 1 and bool(standard_part(stem)))
    return name.endswith(".txt") and "/" not in stem and bool(stem) and is_part_name


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations in XML files.

    classes: the allowed class names, indexed by label; by default all names in the files, sorted.
    """
    faults, image_index, paths = Faults(), ImageIndex(tree), set(tree.names)
    roots: dict[str, Element] = {}
    class_names: set[str] = set()
    for name in dict.fromkeys(files):
        try:
            if name not in paths:
                raise DamageError("file is missing, but its image is in a list")
            roots[name] = parse_xml(tree.document(name), tree.where(name))
            class_names |= class_names_in(roots[name])
        except PellucidError as error:
            faults.refuse(tree.where(name), None, error)
    class_order = tuple(classes or sorted(class_names))
    label_by_name = {name: k for k, name in enumerate(class_order)}
    records: list[ImageRecord] = []
    readings = BoxReadings(CORNERS)
    for k, name in enumerate(files):
        if name in roots:
            where = tree.where(name)
            try:
                image = image_index.find_by_stem(PurePosixPath(name).stem, name)
                size = size_of(roots[name]) or image_index.size(image)
            except PellucidError as error:
                faults.refuse(where, 1, error)
                continue
            objects = read_instances(roots[name], size, label_by_name, where, faults, readings)
            records.append(ImageRecord(image, size, objects, where, image_id=k + 1))
    if reason := readings.fault():
        faults.add(str(tree.path), None, reason, "refused")
    return Annotations(class_order, tuple(records), faults.entries)


def holds_class(name: str) -> bool:
    """Return whether a class name is the same after it is written to XML and read; spaces at its ends are lost."""
    if name.isprintable() and name == name.strip():
        return bool(name)
    element = ElementTree.Element("annotation")
    ElementTree.SubElement(element, "name").text = name
    try:
        return parse_xml(ElementTree.tostring(element, "utf-8"), name).text_at("name") == name != ""
    except (PellucidError, UnicodeError):
        return False


def holds_image(name: str) -> bool:
    """Return whether a file name can be stored in XML, and its stem in a list with one stem per line."""
    stem = PurePosixPath(name).stem
    return holds_class(name) and stem.splitlines() == [stem] and stem == stem.strip()


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write an XML file for each image and a list for each named part; key-points are not written.

    Masks are written as masks of classes, which do not distinguish the objects of one class, if labelmap.txt can name
    all classes.
    """
    instances = [
        instance for annotations in parts.values() for record in annotations.records for instance in record.instances
    ]
    has_masks = bool(instances) and all(instance.outline is not None for instance in instances)
    classes = {BACKGROUND, *(name for annotations in parts.values() for name in annotations.classes)}
    if has_masks and (len(classes) > MAX_MASK_CLASSES or any(":" in name for name in classes)):
        note(
            f"{out}: only the boxes are written: labelmap.txt names at most {MAX_MASK_CLASSES} classes, without colons"
        )
        has_masks = False
    folder = make_folder(out / "Annotations")
    list_folders = [_LIST_FOLDER, _MASK_LIST_FOLDER] if has_masks else [_LIST_FOLDER]
    for part, annotations in parts.items():
        for record in annotations.records:
            name = PurePosixPath(record.image)
            path = folder / name.with_suffix(".xml").name
            write_atomically(path, _xml_document(record, annotations.classes), durable=False)
        stems = [PurePosixPath(record.image).stem for record in annotations.records]
        for list_folder in list_folders if part else ():
            list_path = make_folder(out / list_folder)
            write_atomically(list_path / f"{part}.txt", "".join(f"{stem}\n" for stem in stems).encode())
    if has_masks:
        write_class_masks(parts, out)


def write_class_masks(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write SegmentationClass/NAME.png in the colours of classes, and labelmap.txt."""
    names = mask_classes(parts)
    colours = [",".join(map(str, colour)) for colour in voc_colours().tolist()]
    # There are 256 colours, and at most MAX_MASK_CLASSES names.
    lines = [f"{name}:{colour}::\n" for name, colour in zip(names, colours, strict=False)]
    write_atomically(out / "labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *lines]).encode())
    for _, name, data in mask_files(parts, names):
        write_atomically(make_folder(out / "SegmentationClass") / name, data, durable=False)


def _xml_document(record: ImageRecord, classes: Sequence[str]) -> bytes:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = PurePosixPath(record.image).name
    size = ElementTree.SubElement(root, "size")
    for name, value in zip(("height", "width", "depth"), (*record.size, 3), strict=True):
        ElementTree.SubElement(size, name).text = str(value)
    for instance in record.instances:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = classes[instance.label]
        ElementTree.SubElement(element, "difficult").text = str(int(instance.crowd))
        box = ElementTree.SubElement(element, "bndbox")
        for side, value in zip(BOX_TAGS, instance.box, strict=True):
            ElementTree.SubElement(box, side).text = f"{value:.10g}"
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8") + b"\n"


@dataclass(slots=True)
class Element:
    """An XML element with the line on which it begins. text_parts: the parts of its text."""

    tag: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    text_parts: list[str] = field(default_factory=list)
    children: list["Element"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The element's text, without the text of its children."""
        return "".join(self.text_parts)

    def find(self, *path: str) -> "Element | None":
        """Return the first element at a path of tags below this one, None if there is none."""
        current: Element | None = self
        for tag in path:
            current = (
                None if current is None else next((element for element in current.children if element.tag == tag), None)
            )
        return current

    def text_at(self, *path: str) -> str:
        """Return the text at a path of tags, "" if there is none."""
        element = self.find(*path)
        return "" if element is None else element.text.strip()


def parse_xml(data: bytes, where: str, root_tag: str = "annotation") -> Element:
    """Return the <annotation> element of a file; raise DamageError, with the line, if it is invalid.

    where: the file's name in messages about its encoding. root_tag: the name of the first element.
    """
    encoding = None  # that of the file's declaration
    if is_wide_text(data) or not _declares_encoding(data):
        data, encoding = decode_text(data, where).encode(), "utf-8"
    parser = expat.ParserCreate(encoding)
    stack = [Element("", 0)]  # the open elements, above them one whose child is the root

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber, attributes)
        stack[-1].children.append(element)
        stack.append(element)
        if len(stack) > MAX_XML_LEVELS:
            raise DamageError(f"elements are nested {MAX_XML_LEVELS} deep", element.line)

    def refuse_entity(*arguments: object) -> None:
        raise DamageError("declares an entity; remove the declaration", parser.CurrentLineNumber)

    def refuse_external(name: str, system_id: str | None, *arguments: object) -> None:
        if system_id:
            raise DamageError("names an external DTD; remove the declaration", parser.CurrentLineNumber)

    def append_text(part: str) -> None:
        stack[-1].text_parts.append(part)

    parser.StartElementHandler, parser.EndElementHandler = start, lambda tag: stack.pop()
    parser.CharacterDataHandler, parser.EntityDeclHandler = append_text, refuse_entity
    parser.StartDoctypeDeclHandler = refuse_external
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # ValueError, LookupError: unknown encodings
        line = error.lineno if isinstance(error, expat.ExpatError) else 1
        raise DamageError(f"is not XML ({error})", line) from error
    root = stack[0].children[0]
    if root.tag != root_tag:
        raise DamageError(f"begins with <{root.tag:.40}>, not <{root_tag}>", root.line)
    return root


def _declares_encoding(data: bytes) -> bool:
    """Return whether an XML file begins with a declaration of its encoding."""
    start, _, _ = data.partition(b"?>")
    # A byte order mark may precede the declaration.
    return b"<?xml" in start[:10] and b"encoding" in start


def size_of(root: Element) -> tuple[int, int] | None:
    """Return the image size (H, W) in the file, None if it is missing or invalid."""
    sides = [root.text_at("size", side) for side in ("height", "width")]  # with ten digits or more, no sizes
    return stated_size(*(int(side) if side.isascii() and side.isdigit() and len(side) < 10 else 0 for side in sides))


def read_instances(
    root: Element,
    size: tuple[int, int],
    classes: dict[str, int],
    where: str,
    faults: Faults,
    readings: BoxReadings,
) -> tuple[Instance, ...]:
    """Return the valid objects of a file, and add the faults of invalid ones to `faults`, and all boxes to `readings`.

    classes: labels by name.
    """
    # The VOC challenges count pixels from 1.
    first_pixel = int(root.text_at("source", "annotation").startswith(_CHALLENGE_PREFIX))
    objects: list[Instance] = []
    for element in root.children:
        if element.tag != "object":
            if element.find("bndbox"):
                faults.add(
                    where, element.line, f"element {element.tag:.40} contains a box but is not an <object>", "refused"
                )
            continue
        name = element.text_at("name")
        if name not in classes:
            reason = f"class {name!r:.60} is not among {join_names(classes)}" if name else "an object has no <name>"
            faults.add(where, element.line, reason, "refused")
            continue
        side_elements = [element.find("bndbox", side) for side in BOX_TAGS]
        values = [_parse_number("" if side is None else side.text) for side in side_elements]
        if not all(map(math.isfinite, values)):
            faults.add(where, element.line, f"<bndbox> does not contain the numbers {', '.join(BOX_TAGS)}", "refused")
            continue
        stated_box: BoxCorners = (values[0] - first_pixel, values[1] - first_pixel, values[2], values[3])
        readings.add(stated_box, size)
        line = side_elements[0].line if side_elements[0] is not None else element.line
        difficult = element.text_at("difficult")
        if difficult not in ("", "0", "1"):
            faults.add(where, element.line, f"<difficult> is {difficult!r:.40}; give 0 or 1", "refused")
            continue
        box = faults.clip_box(stated_box, size, where, line)
        if box is not None and len(objects) == MAX_OBJECTS:
            faults.add(where, element.line, f"image has more than {MAX_OBJECTS} objects", "refused")
        elif box is not None:
            objects.append(Instance(box, classes[name], crowd=difficult == "1", line=line))
    return tuple(objects)


def class_names_in(root: Element) -> set[str]:
    """Return the class names in a file."""
    return {element.text_at("name") for element in root.children if element.tag == "object"} - {""}


def _parse_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan


FORMAT = AnnotationFormat(
    "voc", find_parts, read, write, image_path=lambda part, name: f"JPEGImages/{name}",
    written=lambda annotations: frozenset({"box", "crowd"}), holds_class=holds_class, holds_image=holds_image,
)  # fmt: skip
