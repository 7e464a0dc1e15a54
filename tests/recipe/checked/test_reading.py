"""Folders of pictures as users have them: parts, copies and damaged files."""

import hashlib
import random

import pytest
import torch
from PIL import ImageFilter

from pellucid.base.errors import PellucidError
from pellucid.base.text import collected_notes
from pellucid.data import load_folder
from pellucid.recipe.checked.collection import Collection
from pellucid.recipe.checked.reading import read_collection
from pellucid.recipe.job import load_data
from pellucid.recipe.recipe import load_recipe
from tests.data.quality.photos import COPIES, file_of, photo

SIZE = 24


@pytest.fixture(scope="module")
def photo_files() -> list[bytes]:
    """Return the files of forty different photos."""
    return [file_of(photo(seed)) for seed in range(40)]


def write_files(root, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def class_files(photo_files, classes="ab", count=10) -> dict[str, bytes]:
    return {f"{name}/{k:02}.png": photo_files[c * count + k] for c, name in enumerate(classes) for k in range(count)}


@pytest.fixture
def split_files(photo_files) -> dict[str, bytes]:
    """Return two classes in three parts, with 6, 2 and 3 pictures of each class."""
    counts = [("train", 6), ("val", 2), ("test", 3)]
    names = [f"{part}/{name}/{k}.png" for part, n in counts for name in "ab" for k in range(n)]
    return dict(zip(names, photo_files, strict=False))


def test_a_plain_folder_is_split_by_class(tmp_path, photo_files):
    collection = read_collection(write_files(tmp_path, class_files(photo_files)), SIZE)
    assert collection.classes == ("a", "b")
    assert (collection.has_test_folder, collection.validation) == (False, None)
    assert [part.counts() for part in collection.parts().values()] == [[8, 8], [2, 2]]
    assert (collection.corrupt, collection.duplicates, collection.n_groups, collection.n_leaked, collection.blurry) == (
        (),
        (),
        0,
        0,
        (),
    )


def test_pictures_and_file_names_have_the_same_order(tmp_path, photo_files):
    collection = read_collection(write_files(tmp_path, class_files(photo_files)), SIZE)
    loaded = load_folder(tmp_path, (SIZE, SIZE))
    index = {name: k for k, name in enumerate(sorted(class_files(photo_files)))}
    for part in collection.parts().values():
        indices = [index[name] for name in part.files]
        assert torch.equal(part.x, loaded.x[indices])
        assert torch.equal(part.y, loaded.y[indices])
    assert sorted(name for part in collection.parts().values() for name in part.files) == sorted(index)


def test_a_subset_has_the_files_of_its_pictures(tmp_path, photo_files):
    files = {**class_files(photo_files), "a/copy.png": class_files(photo_files)["a/00.png"]}
    part = read_collection(write_files(tmp_path, files), SIZE).train
    subset = part.subset([4, 2])
    assert subset.files == (part.files[4], part.files[2])
    assert subset.groups == (part.groups[4], part.groups[2])
    assert torch.equal(subset.x, part.x[[4, 2]])


def test_held_out_pictures_depend_on_neither_seed_nor_names(tmp_path, photo_files):
    collection = read_collection(write_files(tmp_path / "one", class_files(photo_files)), SIZE, seed=5)
    renamed = {f"{name[0]}/{99 - int(name[2:4])}.png": data for name, data in class_files(photo_files).items()}
    renamed_collection = read_collection(write_files(tmp_path / "two", renamed), SIZE)
    held_out_files = {class_files(photo_files)[name] for name in collection.test.files}
    assert {renamed[name] for name in renamed_collection.test.files} == held_out_files
    assert collection.train.preprocess == renamed_collection.train.preprocess
    assert collection.train.preprocess == {
        "held_out": sorted(hashlib.sha256(data).hexdigest()[:16] for data in held_out_files)
    }


def test_added_pictures_do_not_move_the_others_between_parts(tmp_path, photo_files):
    before = read_collection(write_files(tmp_path, class_files(photo_files)), SIZE)
    after = read_collection(
        write_files(tmp_path, {f"{name}/new.png": photo_files[30 + k] for k, name in enumerate("ab")}), SIZE
    )
    assert [part.counts() for part in after.parts().values()] == [[9, 9], [2, 2]]  # round(0.2 * 11) is still 2
    assert len({*after.test.files} - {"a/new.png", "b/new.png"} - {*before.test.files}) == 0


def test_a_folder_with_a_test_part_needs_no_list_of_held_out_files(tmp_path, split_files):
    assert read_collection(write_files(tmp_path, split_files), SIZE).train.preprocess == {}


def test_progress_of_reading_and_comparing_is_reported(tmp_path, photo_files):
    calls: list[tuple[str, int, int]] = []
    copies = {f"a/{k}-copy.png": file_of(COPIES["turned"](photo(k))) for k in range(3)}
    read_collection(
        write_files(tmp_path, {**class_files(photo_files), **copies}), SIZE, progress=lambda *call: calls.append(call)
    )
    assert ("reading", 23, 23) in calls
    assert calls[-1][0] == "comparing"
    assert all(0 <= done <= total for _, done, total in calls)
    assert calls[-1][1] == calls[-1][2] >= 3


def test_the_validation_part_is_split_from_the_training_part(tmp_path, photo_files):
    collection = read_collection(write_files(tmp_path, class_files(photo_files)), SIZE, validation=0.25)
    assert [part.counts() for part in collection.parts().values()] == [[6, 6], [2, 2], [2, 2]]
    assert list(collection.parts()) == ["train", "validation", "test"]
    assert collection.validation is not None
    assert len(collection.validation) == 4


def test_given_splits_are_unchanged(tmp_path, split_files):
    collection = read_collection(write_files(tmp_path, split_files), SIZE)
    assert collection.has_test_folder
    assert [part.counts() for part in collection.parts().values()] == [[6, 6], [2, 2], [3, 3]]
    assert all(name.startswith("val/") for name in collection.validation.files)


@pytest.mark.parametrize("folder", ["val", "valid", "validation", "test"])
def test_a_single_held_out_part_is_the_test_part(tmp_path, split_files, folder):
    files = {
        name.replace("val/", f"{folder}/"): data for name, data in split_files.items() if not name.startswith("test/")
    }
    collection = read_collection(write_files(tmp_path, files), SIZE)
    assert [part.counts() for part in collection.parts().values()] == [[6, 6], [2, 2]]
    assert all(name.startswith(f"{folder}/") for name in collection.test.files)


def test_a_zip_with_a_folder_around_it_is_the_same(tree, photo_files):
    folder = read_collection(tree("plain", class_files(photo_files)), SIZE)
    packed = read_collection(
        tree("packed.zip", {f"mine/{name}": data for name, data in class_files(photo_files).items()}), SIZE
    )
    assert packed.test.checksum == folder.test.checksum


def test_fifty_classes_of_two_pictures_are_split(tmp_path):
    files = {f"class{c:02}/{k}.png": file_of(photo(1000 + 2 * c + k).resize((40, 30))) for c in range(50) for k in "01"
             for k in [int(k)]}  # fmt: skip
    collection = read_collection(write_files(tmp_path, files), SIZE)
    assert [part.counts() for part in collection.parts().values()] == [[1] * 50, [1] * 50]


def test_near_duplicates_are_kept_in_one_part(tmp_path, photo_files):
    """Class a has three versions of every photo, some of which a split by pictures would separate."""
    copies = {f"a/{k:02}-{kind}.png": file_of(COPIES[kind](photo(k))) for k in range(10) for kind in ("darker", "cut")}
    collection = read_collection(write_files(tmp_path, {**class_files(photo_files), **copies}), SIZE)
    assert (collection.n_groups, len(collection.duplicates), collection.n_leaked) == (10, 20, 0)
    held_out_photos = {name[:4] for name in collection.test.files}
    assert not held_out_photos & {name[:4] for name in collection.train.files}
    assert collection.test.counts() == [6, 2]


def test_copies_are_reported_with_their_classes_and_parts(tmp_path, split_files, photo_files):
    split_files["test/b/again.png"] = photo_files[0]  # the bytes of train/a/0.png
    split_files["train/b/near.jpg"] = file_of(photo(1), "JPEG", quality=60)  # train/a/1.png
    collection = read_collection(write_files(tmp_path, split_files), SIZE)
    exact, near = sorted(collection.duplicates, key=lambda pair: not pair.exact)
    assert (exact.first, exact.second, exact.similarity) == ("train/a/0.png", "test/b/again.png", 1.0)
    assert (exact.classes, exact.parts) == (("a", "b"), ("train", "test"))
    assert (near.first, near.second, near.exact) == ("train/a/1.png", "train/b/near.jpg", False)
    assert collection.n_leaked == 1
    assert any("1 held-out picture is nearly the same" in text for text in collection.warnings)
    split_files["val/a/again.png"] = photo_files[1]  # the bytes of train/a/1.png
    split_files["test/a/again.png"] = split_files["val/a/0.png"]
    assert read_collection(write_files(tmp_path / "more", split_files), SIZE).n_leaked == 3
    assert any("2 pairs are of near duplicates in two classes" in text for text in collection.warnings)


def test_blurry_pictures_are_reported(tmp_path, photo_files):
    blurry_file = file_of(photo(3).filter(ImageFilter.GaussianBlur(2)))
    collection = read_collection(write_files(tmp_path, {**class_files(photo_files), "a/03.png": blurry_file}), SIZE)
    assert [picture.file for picture in collection.blurry] == ["a/03.png"]
    assert collection.blurry[0].sharpness < 0.3


def test_corrupt_files_are_left_out_with_their_reasons(tmp_path, photo_files):
    files = {**class_files(photo_files), "a/03.png": photo_files[3][:500], "b/text.png": b"hello", "b/none.jpg": b""}
    collection = read_collection(write_files(tmp_path, files), SIZE)
    assert [file.file for file in collection.corrupt] == ["a/03.png", "b/none.jpg", "b/text.png"]
    assert "damaged" in collection.corrupt[0].reason
    assert sum(map(sum, (part.counts() for part in collection.parts().values()))) == 19
    assert collection.train.skipped == ("a/03.png", "b/none.jpg", "b/text.png")


def test_warnings_of_few_and_uneven_pictures(tmp_path, photo_files):
    files = {name: data for name, data in class_files(photo_files, count=20).items() if name < "b/05"}
    collection = read_collection(write_files(tmp_path, files), SIZE)
    few, uneven = collection.warnings
    assert "class b (4)" in few
    assert "a has 16 pictures and b 4" in uneven
    assert read_collection(write_files(tmp_path, class_files(photo_files, count=20)), SIZE).warnings == ()


def test_a_class_that_is_not_held_out_is_reported(tmp_path, split_files):
    files = {name: data for name, data in split_files.items() if not name.startswith("test/b")}
    collection = read_collection(write_files(tmp_path, files), SIZE)
    assert any("no held-out picture of class b" in text for text in collection.warnings)


def test_copies_of_a_single_photo_cannot_be_held_out(tmp_path):
    files = {f"{name}/{kind}.png": file_of(COPIES[kind](photo(c))) for c, name in enumerate("ab") for kind in COPIES}
    with pytest.raises(PellucidError, match="near duplicates of each other"):
        read_collection(write_files(tmp_path, files), SIZE)


BROKEN = b"no picture"
INVALID_FOLDERS = {
    "nothing": ({}, "is empty; put a folder"),
    "one class": ({"a/0.png": 0, "a/1.png": 1}, "one class only, 'a'"),
    "no classes": ({"0.png": 0, "1.png": 1}, "no class folders"),
    "one picture": ({"a/0.png": 0, "a/1.png": 1, "b/2.png": 2}, "class 'b' has one readable image"),
    "a class damaged": ({"a/0.png": 0, "a/1.png": 1, "b/2.png": BROKEN}, r"'b' has no readable image \(b/2.png is not"),
    "all damaged": ({"a/0.png": BROKEN, "b/1.png": BROKEN}, "none of its 2 files can be read"),
    "a part damaged": ({"train/a/0.png": 0, "train/b/1.png": 1, "val/a/2.png": BROKEN}, "of its test part can be read"),
    "an unknown class": ({"train/a/0.png": 0, "train/b/1.png": 1, "val/c/2.png": 2}, "val/c is a class that train/"),
    "only a test class": ({"train/a/0.png": 0, "train/b/x.png": BROKEN, "val/b/2.png": 2}, "'b' has no readable image"),
}  # fmt: skip


@pytest.mark.parametrize("case", INVALID_FOLDERS)
def test_invalid_folders_are_reported_in_one_line(tmp_path, photo_files, case):
    files, message = INVALID_FOLDERS[case]
    (tmp_path / "mine").mkdir()
    write_files(
        tmp_path / "mine",
        {name: data if isinstance(data, bytes) else photo_files[data] for name, data in files.items()},
    )
    with pytest.raises(PellucidError, match=message) as caught:
        read_collection(tmp_path / "mine", SIZE)
    assert "\n" not in str(caught.value)


def test_a_file_and_a_missing_folder_are_refused(tmp_path, photo_files):
    (tmp_path / "a.png").write_bytes(photo_files[0])
    with pytest.raises(PellucidError, match=r"a\.png is a file; give a folder"):
        read_collection(tmp_path / "a.png", SIZE)
    with pytest.raises(PellucidError, match="is missing"):
        read_collection(tmp_path / "none", SIZE)
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(PellucidError, match="not a readable zip"):
        read_collection(tmp_path / "a.zip", SIZE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.name": "digits"}, "data.check is for a folder or zip of class folders, not for digits"),
        ({"data.name": "nowhere"}, "data.size is 0"),
        ({"data.name": "nowhere", "data.size": 16, "data.stream": True}, "data.stream: pictures that are checked"),
        ({"data.name": "nowhere", "data.size": 16, "data.limit": 5}, "data.limit has no effect"),
    ],
)
def test_tables_that_cannot_be_checked_are_refused(settings, message):
    recipe = load_recipe("digits", {"data.check": True, "data.validation": 0.0, **settings})
    with pytest.raises(PellucidError, match=message):
        load_data(recipe)


def test_the_key_of_a_recipe_reads_the_folder_with_a_check(tmp_path, photo_files):
    files = {**class_files(photo_files), "a/bad.png": b"", "b/copy.jpg": file_of(photo(12), "JPEG", quality=70)}
    settings = {"data.name": str(write_files(tmp_path, files)), "data.size": SIZE, "data.validation": 0.0}
    with collected_notes() as notes:
        material = load_data(load_recipe("digits", {"data.check": True, **settings}))
    assert any("a/bad.png" in text for text in notes)
    assert isinstance(material, Collection)
    assert [file.file for file in material.corrupt] == ["a/bad.png"]
    assert material.n_groups == 1
    with pytest.raises(PellucidError, match=r"bad\.png"):
        load_data(load_recipe("digits", settings))


@pytest.mark.parametrize("recipe", ["bccd-single", "cifar-colorize", "mnist-dcgan"])
def test_the_key_is_refused_for_other_tasks_than_classification(recipe, tmp_path, photo_files):
    root = write_files(tmp_path, class_files(photo_files))
    settings = {"data.name": str(root), "data.size": SIZE, "data.validation": 0.0, "data.check": True}
    with pytest.raises(PellucidError, match=r"data\.check reads class folders, for classifiers, not for "):
        load_data(load_recipe(recipe, settings))


def read_or_message(root) -> Collection | str:
    try:
        return read_collection(root, SIZE)
    except PellucidError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_damaged_folders_are_read_or_refused_in_one_line(tmp_path, photo_files, seed):
    """The pictures that are read and the files that are left out are together all files of the classes."""
    rng = random.Random(seed)
    files = class_files(photo_files, "abc", 6)
    for _ in range(rng.randrange(1, 14)):
        name = rng.choice(sorted(files))
        data, position = files[name], rng.randrange(len(files[name]) + 1)
        files[
            rng.choice(
                [name, f"{name[0]}/deep/\u00e4 {position}.png", f"{rng.choice('abcd')}/{position}", f"loose {position}"]
            )
        ] = rng.choice(
            [
                data,
                data[:position],
                data[:position] + bytes([rng.randrange(256)]) + data[position + 1 :],
                b"",
                b"\xff\xd8\xff",
            ]
        )
    for name in rng.sample(sorted(files), rng.choice([0, 0, 2, 15])):
        del files[name]
    root = write_files(tmp_path / "mine", files)
    (root / "a").mkdir(parents=True, exist_ok=True)
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "gone.png").symlink_to(root / "nowhere")
    (root / "b" / "folder.png").mkdir(parents=True, exist_ok=True)
    result = read_or_message(root)
    if isinstance(result, str):
        assert "\n" not in result
        return
    class_pictures = [name for name in files if "/" in name and name.endswith(".png")]
    n_read = sum(len(part.files) for part in result.parts().values())
    corrupt_names = {file.file for file in result.corrupt}
    assert n_read + len(corrupt_names) == len(class_pictures) + 1, "and the link to nowhere"
    assert "a/gone.png" in corrupt_names
    assert all(min(part.counts()) >= 0 and sum(part.counts()) == len(part) for part in result.parts().values())
    assert min(result.train.counts()) >= 1
