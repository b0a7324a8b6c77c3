"""Every source of data, opened as a user opens it.

Letters: n images, h height, w width, c channels.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.data import CropFlip, RandomResizedCrop, open_dataset
from tutelage.errors import ConfigError


def _shown(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


@pytest.fixture
def pets(tmp_path: Path, save, noise) -> Path:
    """Ten cats and five dogs without a test split, 12 x 12."""
    for number in range(15):
        name = "cat" if number < 10 else "dog"
        save(tmp_path / "pets" / name / f"{number:02}.png", noise(number))
    return tmp_path / "pets"


class TestDigits:
    def test_they_are_those_of_scikit_learn_and_split_by_class(self, cache: Path) -> None:
        from sklearn.datasets import load_digits

        digits, bunch = open_dataset("digits", cache=cache), load_digits()
        both = torch.cat([digits.train.images, digits.test.images])
        assert sorted(_shown(both)) == sorted(_shown(torch.from_numpy((bunch.images * 15).astype(np.uint8))))
        shares = digits.test.labels.bincount() / torch.from_numpy(bunch.target).bincount()
        assert (shares - 0.25).abs().max() < 0.01
        assert (digits.channels, digits.size, len(digits.labels)) == (1, 8, 10)
        assert int(both.max()) == 240

    def test_they_are_cropped_by_one_pixel_and_not_mirrored(self, cache: Path) -> None:
        views = open_dataset("digits", cache=cache).views(seed=3)
        assert isinstance(views, CropFlip)
        assert (views.padding, views.flip, views.seed) == (1, False, 3)

    def test_the_statistics_are_those_of_the_training_images(self, cache: Path) -> None:
        digits = open_dataset("digits", cache=cache)
        scaled = digits.train.images.double() / 255
        assert digits.mean == pytest.approx([float(scaled.mean())])
        assert digits.std == pytest.approx([float(scaled.std(correction=0))])

    def test_the_split_is_the_same_for_everyone(self, cache: Path) -> None:
        # Pinned: results on digits can only be compared on the same split.
        assert open_dataset("digits", cache=cache).fingerprint == "11f3d39a21c54830"


class TestCifar:
    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet, noise) -> Path:
        folder = tmp_path / "data" / "cifar100"
        for shard, numbers in enumerate([range(3), range(3, 5)]):
            images = [noise(number, 32, 32) for number in numbers]
            labels = [number % 2 for number in numbers]
            parquet(folder / f"train-0000{shard}-of-00002.parquet", images, labels)
        parquet(folder / "test-00000-of-00001.parquet", [noise(9, 32, 32)], [1])
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path / "data"))
        return folder

    def test_ids_number_the_rows_over_the_shards_in_the_order_of_their_names(
        self, root: Path, cache: Path, noise
    ) -> None:
        data = open_dataset("cifar100", cache=cache)
        assert _shown(data.train.images) == [noise(number, 32, 32).tobytes() for number in range(5)]
        assert _shown(data.test.images) == [noise(9, 32, 32).tobytes()]
        assert data.train.labels.tolist() == [0, 1, 0, 1, 0]
        assert data.labels.names == ("cat", "dog")

    def test_the_statistics_are_those_of_the_literature(self, root: Path, cache: Path) -> None:
        assert open_dataset("cifar100", cache=cache).mean == (0.5071, 0.4867, 0.4408)

    def test_crops_have_a_padding_of_four_and_are_mirrored(self, root: Path, cache: Path) -> None:
        views = open_dataset("cifar100", cache=cache).views(seed=0)
        assert isinstance(views, CropFlip)
        assert (views.padding, views.flip) == (4, True)

    def test_opening_it_again_reads_no_source(self, root: Path, cache: Path, monkeypatch) -> None:
        first = open_dataset("cifar100", cache=cache)
        monkeypatch.setattr("tutelage.data.sources.read_parquet", None)
        assert open_dataset("cifar100", cache=cache).fingerprint == first.fingerprint

    def test_a_new_source_is_decoded_again(self, root: Path, cache: Path, parquet, noise) -> None:
        first = open_dataset("cifar100", cache=cache)
        parquet(root / "test-00000-of-00001.parquet", [noise(8, 32, 32), noise(9, 32, 32)], [1, 0])
        second = open_dataset("cifar100", cache=cache)
        assert len(second.test) == 2
        assert second.fingerprint != first.fingerprint

    def test_its_size_cannot_be_changed(self, root: Path, cache: Path) -> None:
        with pytest.raises(ConfigError, match="cifar100 have 32 pixels a side, 64 were asked for"):
            open_dataset("cifar100", size=64, cache=cache)

    def test_cifar10_has_its_own_columns_and_statistics(
        self, tmp_path: Path, cache: Path, monkeypatch, parquet, noise
    ) -> None:
        for split in ("train", "test"):
            images = [noise(number, 32, 32) for number in range(2)]
            parquet(tmp_path / "cifar10" / f"{split}.parquet", images, [0, 1], columns=("img", "label"))
        monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
        assert open_dataset("cifar10", cache=cache).std == (0.2470, 0.2435, 0.2616)


class TestFolder:
    def test_ids_follow_classes_and_file_names_and_a_fifth_is_held_out(self, pets: Path, cache: Path, noise) -> None:
        data = open_dataset(f"folder:{pets}", cache=cache)
        assert (data.labels.names, len(data.train), len(data.test)) == (("cat", "dog"), 12, 3)
        assert data.test.labels.tolist() == [0, 0, 1]
        everything = [noise(number).tobytes() for number in range(15)]
        places = [everything.index(image) for image in _shown(data.train.images)]
        assert places == sorted(places)
        assert sorted(_shown(torch.cat([data.train.images, data.test.images]))) == sorted(everything)

    def test_train_and_test_folders_are_used_as_they_are(self, tmp_path: Path, cache: Path, save, noise) -> None:
        for number, place in enumerate(["train/cat/a", "train/dog/a", "train/dog/b", "val/dog/a"]):
            save(tmp_path / "own" / f"{place}.png", noise(number))
        data = open_dataset(f"folder:{tmp_path / 'own'}", cache=cache)
        assert data.train.labels.tolist() == [0, 1, 1]
        assert data.test.labels.tolist() == [1]
        assert _shown(data.test.images) == [noise(3).tobytes()]

    def test_hidden_files_and_files_that_are_no_images_are_left_out(self, pets: Path, cache: Path) -> None:
        (pets / ".git").mkdir()
        for name in ("cat/.00.png", "cat/notes.txt", "readme.md"):
            (pets / name).write_text("no image")
        data = open_dataset(f"folder:{pets}", cache=cache)
        assert len(data.train) + len(data.test) == 15

    def test_small_images_of_one_size_are_stored_as_they_are(self, pets: Path, cache: Path) -> None:
        data = open_dataset(f"folder:{pets}", cache=cache)
        assert (data.size, data.channels, tuple(data.train.images.shape[1:])) == (12, 3, (12, 12, 3))
        assert isinstance(data.views(seed=0), CropFlip)

    def test_other_images_are_stored_at_eight_sevenths_of_the_size(self, pets: Path, cache: Path, save, noise) -> None:
        save(pets / "cat" / "large.png", noise(99, 30, 20))
        data = open_dataset(f"folder:{pets}", size=28, cache=cache)
        assert (data.size, tuple(data.train.images.shape[1:])) == (28, (32, 32, 3))
        views = data.views(seed=5)
        assert isinstance(views, RandomResizedCrop)
        assert (views.size, views.seed) == (28, 5)
        assert open_dataset(f"folder:{pets}", cache=cache).train.images.shape[1] == 256

    def test_resizing_keeps_the_aspect_and_takes_the_middle(self, tmp_path: Path, cache: Path, save, noise) -> None:
        from PIL import Image

        picture = noise(0, 140, 70)
        for name in ("a/0", "a/1", "b/0", "b/1"):
            save(tmp_path / "tall" / f"{name}.png", picture)
        data = open_dataset(f"folder:{tmp_path / 'tall'}", size=28, cache=cache)
        expected = Image.fromarray(picture).resize((32, 64), Image.Resampling.BICUBIC).crop((0, 16, 32, 48))
        assert np.array_equal(data.train.images[0].numpy(), np.asarray(expected))

    def test_the_orientation_of_a_photograph_is_respected(self, tmp_path: Path, cache: Path, noise) -> None:
        from PIL import Image

        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(0, 80, 80)).save(path, exif=exif)
        data = open_dataset(f"folder:{tmp_path / 'photos'}", size=70, cache=cache)
        assert np.array_equal(data.train.images[0].numpy(), np.rot90(noise(0, 80, 80), -1))

    def test_images_are_grey_only_if_all_are(self, tmp_path: Path, cache: Path, save, noise) -> None:
        root = tmp_path / "mixed"
        for number in range(4):
            save(root / "ab"[number % 2] / f"{number}.png", noise(number, c=1))
        grey = open_dataset(f"folder:{root}", cache=cache)
        assert (grey.channels, grey.views(seed=0).fingerprint) == (1, "crop-flip(padding=1,flip=False)")
        assert len(grey.mean) == 1
        save(root / "a" / "colour.png", noise(7))
        assert open_dataset(f"folder:{root}", cache=cache).channels == 3

    @pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "LA", "1"])
    def test_every_kind_of_image_becomes_grey_or_colour(self, tmp_path: Path, cache: Path, noise, mode: str) -> None:
        from PIL import Image

        image = Image.fromarray(noise(0)).convert(mode)
        for name in ("a/0", "a/1", "b/0", "b/1"):
            path = tmp_path / "kinds" / f"{name}.{'tif' if mode == 'CMYK' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **({"transparency": bytes([0, 128])} if mode == "P" else {}))
        data = open_dataset(f"folder:{tmp_path / 'kinds'}", cache=cache)
        assert data.channels == (1 if mode in ("LA", "1") else 3)
        expected = image.convert("RGB" if data.channels == 3 else "L")
        assert np.array_equal(data.train.images[0].numpy().squeeze(), np.asarray(expected))

    def test_deep_grey_values_are_scaled_not_cut_off(self, tmp_path: Path, cache: Path, save) -> None:
        deep = np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12)
        for name in ("a/0", "a/1", "b/0", "b/1"):
            save(tmp_path / "deep" / f"{name}.png", deep)
        data = open_dataset(f"folder:{tmp_path / 'deep'}", cache=cache)
        assert np.array_equal(data.train.images[0, :, :, 0].numpy(), deep >> 8)

    def test_a_renamed_copy_has_the_same_fingerprint_and_other_pixels_another(
        self, pets: Path, cache: Path, tmp_path: Path, save, noise
    ) -> None:
        import shutil

        first = open_dataset(f"folder:{pets}", cache=cache)
        shutil.copytree(pets, tmp_path / "copy")
        assert open_dataset(f"folder:{tmp_path / 'copy'}", cache=cache).fingerprint == first.fingerprint
        save(pets / "cat" / "00.png", noise(77))
        assert open_dataset(f"folder:{pets}", cache=cache).fingerprint != first.fingerprint

    def test_views_of_images_up_to_the_largest_stored_size_are_padded_by_an_eighth(
        self, tmp_path: Path, cache: Path, save, noise
    ) -> None:
        for name in ("a/0", "a/1", "b/0", "b/1"):
            save(tmp_path / "limit" / f"{name}.png", noise(0, 64, 64))
        data = open_dataset(f"folder:{tmp_path / 'limit'}", cache=cache)
        assert (data.size, data.views(seed=0).fingerprint) == (64, "crop-flip(padding=8,flip=True)")


class TestHub:
    def test_a_folder_of_parquet_files_is_read_directly(
        self, tmp_path: Path, cache: Path, parquet, noise, monkeypatch
    ) -> None:
        monkeypatch.setattr("tutelage.data.sources.hub_splits", None)
        parquet(tmp_path / "own/data/train-0.parquet", [noise(0), noise(1)], [0, 1])
        parquet(tmp_path / "own/data/validation-0.parquet", [noise(2)], [1])
        data = open_dataset(f"hf:{tmp_path / 'own'}", cache=cache)
        assert _shown(data.train.images) == [noise(0).tobytes(), noise(1).tobytes()]
        assert (data.test.labels.tolist(), data.labels.names) == ([1], ("cat", "dog"))

    def test_columns_can_be_named_and_labels_can_be_text(self, tmp_path: Path, cache: Path, parquet, noise) -> None:
        images = [noise(number) for number in range(10)]
        labels = ["wolf", "fox"] * 5
        parquet(tmp_path / "own.parquet", images, labels, names=None, columns=("photo", "species"))
        data = open_dataset(f"hf:{tmp_path}:photo:species", cache=cache)
        assert data.labels.names == ("fox", "wolf")
        assert data.train.labels.tolist() + data.test.labels.tolist() == [1, 0] * 4 + [1, 0]

    def test_an_unlabelled_test_split_gives_way_to_the_validation_split(
        self, tmp_path: Path, cache: Path, parquet, noise
    ) -> None:
        parquet(tmp_path / "own/train.parquet", [noise(0), noise(1)], [0, 1])
        parquet(tmp_path / "own/test.parquet", [noise(2)], [-1])
        parquet(tmp_path / "own/validation.parquet", [noise(3)], [0])
        assert open_dataset(f"hf:{tmp_path / 'own'}", cache=cache).test.labels.tolist() == [0]

    def test_classes_without_names_are_numbered(self, tmp_path: Path, cache: Path, parquet, noise) -> None:
        parquet(tmp_path / "own.parquet", [noise(n) for n in range(6)], [0, 2] * 3, names=None)
        assert open_dataset(f"hf:{tmp_path}", cache=cache).labels.names == ("0", "1", "2")

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_folder_of_images_is_read_by_the_datasets_library(self, tmp_path: Path, cache: Path, save, noise) -> None:
        for number, place in enumerate(["train/cat/a", "train/dog/a", "test/dog/a"]):
            save(tmp_path / "own" / f"{place}.png", noise(number))
        data = open_dataset(f"hf:{tmp_path / 'own'}", cache=cache)
        assert _shown(data.train.images) == [noise(0).tobytes(), noise(1).tobytes()]
        assert (data.labels.names, data.test.labels.tolist()) == (("cat", "dog"), [1])


def test_the_cache_is_the_argument_else_the_variable_else_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_dataset("digits")
    assert (tmp_path / "home/.cache/tutelage/digits-1/meta.json").is_file()
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "variable"))
    open_dataset("digits")
    assert (tmp_path / "variable/digits-1/meta.json").is_file()
    open_dataset("digits", cache=tmp_path / "argument")
    assert (tmp_path / "argument/digits-1/meta.json").is_file()
