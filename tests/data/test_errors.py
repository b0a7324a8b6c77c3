"""What goes wrong for a new user, and what the message says.

Letters: none.
"""

from pathlib import Path
from typing import Any

import datasets
import pytest

from tutelage.data import open_dataset
from tutelage.errors import ConfigError, DataError, UnknownNameError


def _refused(spec: str, cache: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(spec, cache=cache)
    assert not list(cache.glob("*")), "something half-written remains"


class TestNames:
    def test_an_unknown_data_set_lists_those_that_exist(self, cache: Path) -> None:
        with pytest.raises(UnknownNameError, match=r"unknown data set 'cifar-100'; the nearest of 5: cifar100"):
            open_dataset("cifar-100", cache=cache)

    @pytest.mark.parametrize("spec", ["folder:", "hf:", "", "FOLDER:x"])
    def test_a_kind_without_a_name_is_unknown(self, cache: Path, spec: str) -> None:
        with pytest.raises(UnknownNameError, match="unknown data set"):
            open_dataset(spec, cache=cache)

    def test_one_column_without_the_other_is_refused(self, cache: Path) -> None:
        with pytest.raises(ConfigError, match="name both columns or none"):
            open_dataset("hf:some/name:label", cache=cache)

    @pytest.mark.parametrize("size", [0, 7, -5])
    def test_a_size_without_room_for_a_picture_is_refused(
        self, tmp_path: Path, cache: Path, save: Any, noise: Any, size: int
    ) -> None:
        for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
            save(tmp_path / "own" / name, noise(0))
        with pytest.raises(ConfigError, match=f"at least 8 pixels, got {size}"):
            open_dataset(f"folder:{tmp_path / 'own'}", size=size, cache=cache)


class TestFolders:
    def test_a_missing_folder(self, tmp_path: Path, cache: Path) -> None:
        _refused(f"folder:{tmp_path / 'none'}", cache, "there is no folder .*none: check the path")

    def test_an_empty_folder(self, tmp_path: Path, cache: Path) -> None:
        (tmp_path / "own").mkdir()
        _refused(f"folder:{tmp_path / 'own'}", cache, "own has no images: put the images of each class")

    def test_images_without_folders_of_classes(self, tmp_path: Path, cache: Path, save: Any, noise: Any) -> None:
        save(tmp_path / "own/cat.png", noise(0))
        _refused(f"folder:{tmp_path / 'own'}", cache, "own has 1 images but no folders of classes")

    def test_one_class_only(self, tmp_path: Path, cache: Path, save: Any, noise: Any) -> None:
        save(tmp_path / "own/cat/0.png", noise(0))
        _refused(f"folder:{tmp_path / 'own'}", cache, "at least two classes are needed, .*own has one: 'cat'")

    def test_a_class_without_images(self, tmp_path: Path, cache: Path, save: Any, noise: Any) -> None:
        save(tmp_path / "own/cat/0.png", noise(0))
        (tmp_path / "own/dog").mkdir()
        _refused(f"folder:{tmp_path / 'own'}", cache, "have no images: dog; remove them or fill them")

    def test_a_test_class_that_is_never_trained(self, tmp_path: Path, cache: Path, save: Any, noise: Any) -> None:
        for name in ("train/cat", "train/dog", "test/fox"):
            save(tmp_path / "own" / name / "0.png", noise(0))
        _refused(f"folder:{tmp_path / 'own'}", cache, "has classes that .*train lacks: fox")

    def test_too_few_images_for_a_test_split(self, tmp_path: Path, cache: Path, save: Any, noise: Any) -> None:
        for name in ("cat", "dog"):
            save(tmp_path / "own" / name / "0.png", noise(0))
        _refused(f"folder:{tmp_path / 'own'}", cache, "too few to hold out a test split")

    @pytest.mark.parametrize("size", [None, 28])
    @pytest.mark.parametrize("damage", ["no image", "cut short", "empty"])
    def test_an_unreadable_image_is_named(
        self, tmp_path: Path, cache: Path, save: Any, noise: Any, damage: str, size: int | None
    ) -> None:
        for name in ("a/0.png", "a/1.png", "b/0.png", "b/bad.png"):
            save(tmp_path / "own" / name, noise(0))
        bad = tmp_path / "own/b/bad.png"
        whole = bad.read_bytes()
        bad.write_bytes({"no image": b"hello", "cut short": whole[: len(whole) // 2], "empty": b""}[damage])
        with pytest.raises(DataError, match=r"cannot read the image .*bad\.png .*: replace it or remove it"):
            open_dataset(f"folder:{tmp_path / 'own'}", size=size, cache=cache)
        assert not list(cache.glob("*"))


class TestParquet:
    def test_a_missing_label_column_names_the_columns(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for split in ("train", "test"):
            path = tmp_path / "cifar100" / f"{split}.parquet"
            parquet(path, [noise(0, 32, 32)], [0], columns=("img", "label"))
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
        _refused("cifar100", cache, "no column 'fine_label'; its columns are img, label")

    def test_a_label_column_of_no_usual_name(self, tmp_path: Path, cache: Path, parquet: Any, noise: Any) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0)], [0], columns=("img", "kind"))
        _refused(
            f"hf:{tmp_path / 'own'}",
            cache,
            "no label column of a usual name; its columns are img, kind: .* hf:NAME:image_column:label_column",
        )

    def test_a_column_that_was_asked_for_and_is_missing(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any
    ) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0)], [0])
        _refused(f"hf:{tmp_path / 'own'}:img:kind", cache, "no column 'kind'; its columns are img, fine_label")

    def test_a_damaged_file(self, tmp_path: Path, cache: Path) -> None:
        (tmp_path / "own").mkdir()
        (tmp_path / "own/train.parquet").write_bytes(b"PAR1 but not really")
        _refused(f"hf:{tmp_path / 'own'}", cache, r"cannot read .*train\.parquet .*: download it again")

    def test_an_unreadable_image_is_named_by_its_row(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any
    ) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0), noise(1), b"hello"], [0, 1, 0])
        _refused(f"hf:{tmp_path / 'own'}", cache, r"cannot read the image in row 2 of .*train\.parquet")

    def test_a_row_without_an_image(self, tmp_path: Path, cache: Path, parquet: Any, noise: Any) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0), None, noise(2)], [0, 1, 0])
        _refused(f"hf:{tmp_path / 'own'}", cache, r"no image in row 1 of .*train\.parquet: the column 'img'")

    def test_images_of_another_size_than_that_of_cifar(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for split in ("train", "test"):
            parquet(tmp_path / "cifar100" / f"{split}.parquet", [noise(0), noise(1)], [0, 1])
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
        _refused("cifar100", cache, "12 x 12 pixels, 32 x 32 were expected")

    def test_cifar_without_a_test_split(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parquet(tmp_path / "cifar100/train.parquet", [noise(0, 32, 32)], [0])
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
        _refused("cifar100", cache, r"cifar100 has no test\*\.parquet, only train: add it")

    @pytest.mark.parametrize(
        ("labels", "names", "message"),
        [
            ([0, 2, 1], ("cat", "dog"), r"labels outside its 2 classes: \[2\]"),
            ([0, -1, 1], ("cat", "dog"), r"labels outside its 2 classes: \[-1\]"),
            ([0.5, 1.0, 2.0], None, "must be whole numbers or text"),
            ([0, None, 1], None, "must be whole numbers or text"),
            ([-1, -1, -1], None, "there are no labelled images in"),
            ([0, 0, 0], None, "at least two classes are needed, .* has one: '0'"),
        ],
    )
    def test_labels_that_name_no_class(
        self, tmp_path: Path, cache: Path, parquet: Any, noise: Any, labels: Any, names: Any, message: str
    ) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0), noise(1), noise(2)], labels, names=names)
        _refused(f"hf:{tmp_path / 'own'}", cache, message)

    def test_a_split_without_rows(self, tmp_path: Path, cache: Path, parquet: Any) -> None:
        parquet(tmp_path / "own/train.parquet", [], [])
        _refused(f"hf:{tmp_path / 'own'}", cache, "there are no labelled images in")


class TestHub:
    @pytest.fixture
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str) -> None:
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub (LocalEntryNotFoundError)")

        monkeypatch.setattr(datasets, "load_dataset", refuse)

    def test_cifar_without_data_and_connection_says_what_to_set(
        self, offline: None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _refused("cifar100", cache, r"cannot be reached: connect, or set TUTELAGE_DATA to .*cifar100/train\*")
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path / "wrong"))
        _refused("cifar100", cache, r"there are no Parquet files in .*wrong/cifar100")

    def test_a_hub_name_without_connection(self, offline: None, cache: Path) -> None:
        _refused("hf:some/name", cache, "'some/name' is not on this computer and .* cannot be reached: connect")

    def test_a_hub_name_that_does_not_exist(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> None:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset {name!r} doesn't exist on the Hub")

        monkeypatch.setattr(datasets, "load_dataset", missing)
        _refused("hf:some/nmae", cache, "cannot load the data set 'some/nmae' .*doesn't exist.*: check the name")

    def test_a_column_without_images(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"image": ["a", "b"], "label": [0, 1]})})
        monkeypatch.setattr(datasets, "load_dataset", lambda _: found)
        _refused("hf:some/name", cache, r"the column 'image' of some/name \(train\) does not hold images")
