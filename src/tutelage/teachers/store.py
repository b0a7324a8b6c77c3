"""The exact cache: a teacher's answers on disk, addressed by (teacher, views, data, content) and (id, view).

Letters: n samples, b bytes of a row, m distinct samples, g nodes, p views in a node.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from tutelage.errors import DataError, RunError, ShapeError
from tutelage.teachers.environment import environment
from tutelage.teachers.rows import Content, distinct

__all__ = ["AnswerStore", "Subject", "stores_in"]

Bytes = npt.NDArray[np.uint8]
Keys = npt.NDArray[Any]

_KEY = np.dtype([("id", ">u8"), ("group", ">u4")])  # big-endian: LMDB sorts keys as text
_FACTS, _FIRST = b"\0", b"\0" * 12  # the facts of a store sort before every answer
_NODE_MOST, _PAGE = 2038, 4096 - 16  # largest node inside a page of LMDB, and what a page has room for


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whose answers, to what, and what is kept of them.

    Args:
        teacher: Fingerprint of the teacher.
        views: Fingerprint of the views.
        data: Checksum of the split that the ids count.
        content: What is kept.
    """

    teacher: str
    views: str
    data: str
    content: Content

    def facts(self) -> dict[str, str]:
        """All four in clear."""
        return {"teacher": self.teacher, "views": self.views, "data": self.data, "content": self.content.as_json()}

    @property
    def name(self) -> str:
        """Name of its folder: a hash of the four."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()[:16]


class AnswerStore:
    """Rows of bytes by (id, view); several processes may read and write it at once.

    Args:
        folder: Of all caches; this one gets a folder in it, named by a hash of the subject. Where the folder is
            itself such a cache, it must be the one of this subject.
        subject: Whose answers these are.
        dense: Whether most views of a sample will be asked. Several views then share a node, which takes 205 bytes
            for 100 logits where single rows take 228, but a node is as large for one view as for all. What an
            existing store was made with stays.

    Raises:
        DataError: if the folder is the cache of another subject (the message says what differs), or damaged.
        RunError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> subject = Subject(teacher="t", views="plain", data="d", content=Content(num_classes=2))
        >>> store = AnswerStore(Path(tempfile.mkdtemp()), subject)
        >>> store.put(torch.tensor([3]), torch.tensor([0]), torch.ones(1, 4, dtype=torch.uint8))
        >>> store.get(torch.tensor([2, 3]), torch.tensor([0, 0]))[1]
        tensor([False,  True])
    """

    def __init__(self, folder: Path, subject: Subject, *, dense: bool = False) -> None:
        self.subject = subject
        self.path = folder if (folder / "data.mdb").is_file() else folder / subject.name
        self.row_bytes = subject.content.row_bytes
        made = subject.facts() | {"pack": str(_views_a_node(self.row_bytes) if dense else 1)}

        def meet(transaction: Any) -> dict[str, str]:
            transaction.put(_FACTS, json.dumps(made).encode(), overwrite=False)
            return _facts(self.path, transaction.get(_FACTS))

        where = environment(self.path, create=True)
        held = _held_facts(self.path)
        facts = _facts(self.path, held) if held is not None else where.write(meet)
        wrong = [name for name in subject.facts() if facts.get(name) != made[name]]
        if wrong:
            detail = "; ".join(f"{name} is {facts.get(name)}, wanted {made[name]}" for name in wrong)
            raise DataError(f"{self.path} is a cache of other answers: {detail}: choose another cache folder")
        self.pack = int(facts["pack"])
        self._width = 2 + self.pack * self.row_bytes

    @classmethod
    def at(cls, path: Path) -> "AnswerStore":
        """The store in this folder, whatever its subject.

        Raises:
            DataError: if there is none.
        """
        facts = _facts(path, _held_facts(path))
        content = Content.from_json(facts["content"])
        named = Subject(teacher=facts["teacher"], views=facts["views"], data=facts["data"], content=content)
        return cls(path, named)

    def get(
        self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]
    ) -> tuple[UInt8[Tensor, "n b"], Bool[Tensor, " n"]]:
        """The rows, zero where there is none, and where there is one; from one read transaction.

        Raises:
            ShapeError: if an id or a view is negative, or a view does not fit 32 bits.
        """
        keys, slots = self._keys(ids, views)
        nodes = environment(self.path).read(lambda transaction: self._nodes(transaction, keys))
        known = (nodes[:, :2].copy().view("<u2")[:, 0] >> slots) & 1
        body = nodes[:, 2:]
        rows = body if self.pack == 1 else body.reshape(-1, self.pack, self.row_bytes)[np.arange(len(keys)), slots]
        rows = np.where(known[:, None], rows, 0).astype(np.uint8) if not known.all() else np.ascontiguousarray(rows)
        return torch.from_numpy(rows), torch.from_numpy(known.astype(bool))

    def put(self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"], rows: UInt8[Tensor, "n b"]) -> None:
        """Store rows, on disk when this returns; an answer that is there already stays as it is.

        Keys that come after all others are appended: pages are then full, not two thirds full.

        Raises:
            ShapeError: if the rows have another length, or an id or view is out of range.
            RunError: if the disk is full; nothing of these rows is then stored, and all others are untouched.
        """
        if rows.shape != (len(ids), self.row_bytes):
            raise ShapeError(f"wanted {len(ids)} rows of {self.row_bytes} bytes, got {tuple(rows.shape)}")
        if not len(ids):
            return
        first, _ = distinct(ids, views)
        keys, slots = self._keys(ids[first], views[first])
        fresh = rows[first].numpy()
        starts = np.concatenate([[True], keys[1:] != keys[:-1]])
        node, names = np.cumsum(starts) - 1, keys[starts]

        def write(transaction: Any) -> None:
            nodes = self._nodes(transaction, names)
            taken = nodes[:, :2].copy().view("<u2")[:, 0]
            new = ((taken[node] >> slots) & 1) == 0
            np.bitwise_or.at(taken, node, (1 << slots).astype(np.uint16))
            nodes[:, :2] = taken.astype("<u2").view(np.uint8).reshape(-1, 2)
            nodes[:, 2:].reshape(len(nodes), self.pack, -1)[node[new], slots[new]] = fresh[new]
            cursor, pairs = transaction.cursor(), list(zip(_texts(names), _texts(nodes), strict=True))
            end = cursor.key() if cursor.last() else b""
            inside = sum(name <= end for name, _ in pairs)
            cursor.putmulti(pairs[:inside])
            cursor.putmulti(pairs[inside:], append=True)

        environment(self.path).write(write)

    def asking(self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]) -> AbstractContextManager[None]:
        """Be the only process that asks the teacher for these, so that none is asked twice at once."""
        # Any map to 62 bits will do, since two samples on one place only wait for each other.
        places = (ids.cpu() * 4_294_967_291 + views.cpu()) & (2**62 - 1)
        return environment(self.path).asking(sorted(set(places.tolist())))

    def check_room(self, count: int) -> None:
        """Before answers are paid for: whether the disk has room for this many.

        Raises:
            RunError: if it has not.
        """
        # A row on a page of its own, written anew with the pages above it, is the worst case.
        wanted = count * (_PAGE + 16 + 2 * self._width) + 2**20
        free = shutil.disk_usage(self.path).free
        if free < wanted:
            raise RunError(
                f"{count} answers need up to {wanted / 2**20:.1f} MiB in {self.path}, and {free / 2**20:.1f} MiB are "
                f"free; the teacher was not asked: free some space, then go on"
            )

    def scan(
        self, count: int = 4096
    ) -> Iterator[tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], UInt8[Tensor, "m b"]]]:
        """All ids, views and rows in their order, from about ``count`` nodes at a time."""
        after = _FIRST

        def some(transaction: Any) -> list[tuple[bytes, bytes]]:
            cursor = transaction.cursor()
            return list(islice(cursor.iternext(), count)) if cursor.set_range(after) else []

        while pairs := environment(self.path).read(some):
            keys = np.frombuffer(b"".join(key for key, _ in pairs), _KEY)
            nodes = np.frombuffer(b"".join(value for _, value in pairs), np.uint8).reshape(len(pairs), -1)
            taken = nodes[:, :2].copy().view("<u2")
            node, slot = np.nonzero((taken >> np.arange(self.pack)) & 1)
            rows = nodes[:, 2:].reshape(len(pairs), self.pack, -1)[node, slot]
            ids, groups = keys["id"][node].astype(np.int64), keys["group"][node].astype(np.int64)
            yield torch.from_numpy(ids), torch.from_numpy(groups * self.pack + slot), torch.from_numpy(rows)
            after = pairs[-1][0] + b"\0"

    def __len__(self) -> int:
        if self.pack == 1:
            entries: int = environment(self.path).read(lambda transaction: transaction.stat()["entries"])
            return entries - 1
        return sum(len(ids) for ids, _, _ in self.scan())

    @property
    def num_bytes(self) -> int:
        """What it takes on disk."""
        return os.stat(self.path / "data.mdb").st_blocks * 512  # noqa: PTH116

    def _keys(self, ids: Tensor, views: Tensor) -> tuple[Keys, npt.NDArray[np.int64]]:
        lowest, number = ids.cpu().numpy(), views.cpu().numpy()
        if len(lowest) and (lowest.min() < 0 or number.min() < 0 or number.max() >= 2**32):
            raise ShapeError("ids and views must be 0 or more, and views below 2**32: these number no sample")
        keys: Keys = np.empty(len(lowest), _KEY)
        keys["id"], keys["group"] = lowest, number // self.pack
        return keys, number % self.pack

    def _nodes(self, transaction: Any, keys: Keys) -> Bytes:
        """The nodes of these keys, zero where there is none; writable."""
        names: Sequence[bytes] = _texts(keys)
        found = transaction.cursor().getmulti(names)
        held = np.frombuffer(bytearray().join(value for _, value in found), np.uint8).reshape(-1, self._width)
        if len(found) == len(names):
            return held
        there = {name for name, _ in found}
        nodes = np.zeros((len(names), self._width), np.uint8)
        nodes[[name in there for name in names]] = held
        return nodes


def stores_in(folder: Path) -> list[AnswerStore]:
    """The cache that a folder is, or all caches in it; one that another process has only begun to make is none yet.

    Raises:
        DataError: if the folder does not exist, or a cache in it is damaged.

    Example:
        >>> import tempfile
        >>> stores_in(Path(tempfile.mkdtemp()))
        []
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: name one that holds caches of answers")
    files = [folder / "data.mdb"] if (folder / "data.mdb").is_file() else sorted(folder.glob("*/data.mdb"))
    return [AnswerStore.at(file.parent) for file in files if _held_facts(file.parent) is not None]


def _held_facts(path: Path) -> bytes | None:
    """The facts of a store, written by whoever makes it right after its file: for a moment, there are none."""
    text: bytes | None = environment(path).read(lambda transaction: transaction.get(_FACTS))
    return text


def _texts(records: npt.NDArray[Any]) -> list[bytes]:
    """Each record as bytes."""
    if not len(records):
        return []
    width = records.nbytes // len(records)
    texts: list[bytes] = np.ascontiguousarray(records).view(np.uint8).reshape(-1).view(f"V{width}").tolist()
    return texts


def _facts(path: Path, text: bytes | None) -> dict[str, str]:
    try:
        facts: dict[str, str] = json.loads(text or b"")
    except ValueError as error:
        raise DataError(f"{path} is not a cache of answers, or its first record is damaged") from error
    return facts


def _views_a_node(row_bytes: int) -> int:
    """How many views share a node, so that most rows go on a page; beyond a page of LMDB it does not matter."""

    def rows_a_page(pack: int) -> int:
        node = 8 + _KEY.itemsize + 2 + pack * row_bytes
        return pack * (_PAGE // (node + node % 2 + 2)) if node <= _NODE_MOST else 0

    return max(range(1, 17), key=lambda pack: (rows_a_page(pack), -pack))
