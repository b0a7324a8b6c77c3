"""Folders of images: one folder a class."""

from pathlib import Path

from tutelage.data.tables import Labelled
from tutelage.errors import DataError

__all__ = ["folder_splits", "image_files"]

_SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_TEST_NAMES = ("test", "val", "valid", "validation")


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, in the order of their relative names; hidden files and folders are left out."""
    files = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def folder_splits(root: Path) -> tuple[dict[str, Labelled], list[Path]]:
    """The splits of a folder of images: ``root/train`` and ``root/test`` (or ``val``), else ``root`` as one.

    Ids number the images class by class in alphabetical order, and by file name within a class.

    Args:
        root: The folder.

    Returns:
        The splits, ``train`` and perhaps ``test``, and all files.

    Raises:
        DataError: if a folder is missing, empty, has no class folders, or a class has no images.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: check the path (it is relative to {Path.cwd()})")
    test = next((root / name for name in _TEST_NAMES if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        only = _Classes(root)
        return {"train": only.labelled()}, only.files
    train, held_out = _Classes(root / "train"), _Classes(test)
    if unseen := sorted(set(held_out.names) - set(train.names)):
        raise DataError(f"{test} has classes that {root / 'train'} lacks: {', '.join(unseen[:5])}")
    return {"train": train.labelled(), "test": held_out.labelled()}, train.files + held_out.files


class _Classes:
    """The class folders of one split and their images."""

    def __init__(self, root: Path) -> None:
        self.root = root
        folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] not in "._")
        if not folders:
            loose = len(image_files(root))
            what = f"{loose} images but no folders of classes" if loose else "no images"
            raise DataError(f"{root} has {what}: put the images of each class into a folder of their own")
        members = {folder.name: image_files(folder) for folder in folders}
        if empty := [name for name, files in members.items() if not files]:
            raise DataError(
                f"these folders of classes in {root} have no images: {', '.join(empty[:5])}; "
                f"remove them or fill them (known endings: {' '.join(sorted(_SUFFIXES))})"
            )
        self.names: list[str] = list(members)
        self.files: list[Path] = [file for files in members.values() for file in files]
        self.labels: list[str] = [name for name, files in members.items() for _ in files]

    def labelled(self) -> Labelled:
        files = self.files
        return Labelled(lambda: ((str(file), file) for file in files), self.labels, None)
