"""Small data sets on disk, in the layouts that users have."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def noise() -> Callable[..., Pixels]:
    """Pixels that depend on a number: image 3 of a test is the same everywhere."""

    def make(number: int, h: int = 12, w: int = 12, c: int = 3) -> Pixels:
        shape = (h, w) if c == 1 else (h, w, c)
        return np.random.default_rng(number).integers(0, 256, shape, np.uint8)

    return make


@pytest.fixture
def save() -> Callable[[Path, Pixels], None]:
    def write(path: Path, pixels: Pixels) -> None:
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write


@pytest.fixture
def parquet() -> Callable[..., None]:
    """Writes a Parquet file as the hub does: encoded images, labels, and the names of the classes."""

    def write(
        path: Path,
        images: Sequence[Pixels | bytes | None],
        labels: Sequence[Any],
        names: Sequence[str] | None = ("cat", "dog"),
        columns: tuple[str, str] = ("img", "fine_label"),
    ) -> None:
        import pyarrow
        import pyarrow.parquet
        from PIL import Image

        rows = []
        for image in images:
            encoded = io.BytesIO()
            if isinstance(image, np.ndarray):
                Image.fromarray(image).save(encoded, "PNG")
            rows.append({"bytes": encoded.getvalue() if isinstance(image, np.ndarray) else image, "path": None})
        struct = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        table = pyarrow.table({columns[0]: pyarrow.array(rows, struct), columns[1]: labels})
        if names:
            features = {
                columns[0]: {"_type": "Image"},
                columns[1]: {"names": list(names), "_type": "ClassLabel"},
            }
            text = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": text})
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table, path)

    return write


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the data, the cache or the home folder of whoever runs it."""
    for name in ("TUTELAGE_DATA", "TUTELAGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # No test cuts the power, and waiting for the disk takes longer than all the rest.
    monkeypatch.setattr("os.fsync", lambda _: None)
