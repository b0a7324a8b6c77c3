"""The graph: neighbours computed once, looked up by id at every step, kept on disk under what they came from.

Letters: n samples, k neighbours.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.memory.neighbours import Search, neighbours
from tutelage.memory.rows import Neighbours, Rows
from tutelage.memory.search import BlockwiseSearch
from tutelage.rundir import saving

__all__ = ["Graph", "graph_fingerprint"]

FORMAT = "tutelage-graph/1"

_PART = 2**16
"""Rows that are hashed at once, so that those of an accelerator need little memory of the host."""


class Graph(nn.Module):
    """Neighbours of every sample of a data set, by id.

    Its lists move with the module and are extra state, as those of a bank.

    Args:
        found: One line for each id from 0 on.
        fingerprint: Of what it was built from.

    Example:
        >>> rows = Rows.of(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        >>> graph = Graph.build(rows, k_same=1, k_other=2)
        >>> graph(torch.tensor([3, 0])).same
        tensor([[2],
                [1]])
    """

    def __init__(self, found: Neighbours, fingerprint: str) -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self._lists = Neighbours(found.same.int(), found.same_similarity, found.other.int(), found.other_similarity)

    @classmethod
    def build(cls, rows: Rows, *, k_same: int = 8, k_other: int = 16, search: Search | None = None) -> "Graph":
        """Search the neighbours of all rows; ids that have no row get lists of padding.

        Raises:
            InputError: if no row exists, or features are not finite.
            ConfigError: if a length is negative.
        """
        exists = rows.ids >= 0
        if not bool(exists.any()):
            raise InputError("a graph needs rows, and none was written: pass the data set through the teacher before")
        found = neighbours(rows, k_same=k_same, k_other=k_other, search=search)
        lists = Neighbours.none(int(rows.ids.max()) + 1, k_same, k_other, rows.ids.device)
        for table, answer in zip(lists, found, strict=True):
            table[rows.ids[exists]] = answer[exists]
        return cls(lists, graph_fingerprint(rows, k_same=k_same, k_other=k_other, search=search))

    def forward(self, ids: Int64[Tensor, " n"]) -> Neighbours:
        """The neighbours of a batch.

        Raises:
            InputError: if (on the CPU) an id is not in the graph.
        """
        size = len(self._lists.same)
        if ids.device.type == "cpu" and len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise InputError(
                f"the graph knows samples 0 to {size - 1}, got ids from {int(ids.min())} to {int(ids.max())}: "
                "build it from a bank of the whole data set"
            )
        same, same_similarity, other, other_similarity = (part.index_select(0, ids) for part in self._lists)
        return Neighbours(same.long(), same_similarity, other.long(), other_similarity)

    def save(self, folder: Path) -> Path:
        """Write the graph under its fingerprint, whole or not at all.

        Returns:
            The path of the file.

        Raises:
            RunError: if the disk is full or cannot be written.
        """
        from safetensors.torch import save

        path = _path(folder, self.fingerprint)
        lists = {name: part.cpu().contiguous() for name, part in self._lists._asdict().items()}
        with saving(path) as scratch:
            scratch.write_bytes(save(lists, metadata={"format": FORMAT, "fingerprint": self.fingerprint}))
        return path

    @classmethod
    def load(cls, folder: Path, fingerprint: str) -> "Graph":
        """Read the graph of that fingerprint, as of :func:`graph_fingerprint`.

        Raises:
            DataError: if there is none, or the file is damaged or holds another graph.
        """
        from safetensors import SafetensorError, safe_open

        path = _path(folder, fingerprint)
        if not path.is_file():
            raise DataError(f"no graph {fingerprint} in {folder}: build it from the bank and save it there")
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                lists = Neighbours(*(file.get_tensor(name) for name in Neighbours._fields))
        except (SafetensorError, OSError) as error:
            raise DataError(f"the graph {path} is damaged: {error}: delete it and build it again") from error
        if about.get("format") != FORMAT or about.get("fingerprint") != fingerprint:
            raise DataError(
                f"{path} holds {about or 'no graph'}, not the graph {fingerprint}: delete it, build it again"
            )
        return cls(lists, fingerprint)

    def get_extra_state(self) -> dict[str, Any]:
        """The lists, and what they were built from."""
        return {**self._lists._asdict(), "fingerprint": self.fingerprint}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore them.

        Raises:
            ShapeError: if the saved lists are not of as many samples and neighbours.
        """
        for name, own in self._lists._asdict().items():
            if state[name].shape != own.shape:
                raise ShapeError(
                    f"the saved graph has {name} {tuple(state[name].shape)}, this one {tuple(own.shape)}: "
                    "build it with the settings of the saved one"
                )
            own.copy_(state[name])
        self.fingerprint = state["fingerprint"]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        device = fn(self._lists.same.new_empty(0)).device
        self._lists = Neighbours(*(part.to(device) for part in self._lists))
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def _path(folder: Path, fingerprint: str) -> Path:
    return folder / f"{fingerprint}.safetensors"


def graph_fingerprint(rows: Rows, *, k_same: int = 8, k_other: int = 16, search: Search | None = None) -> str:
    """What a graph would be built from: the rows bit for bit, the lengths of the lists, and the search.

    1.28 million rows of 256 float16 features take half a second.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> rows = Rows.of(torch.eye(2), torch.tensor([0, 0]))
        >>> graph_fingerprint(rows) == graph_fingerprint(rows, k_same=9)
        False
    """
    identity = (BlockwiseSearch() if search is None else search).identity
    facts = {"format": FORMAT, "k_same": k_same, "k_other": k_other, "search": identity}
    facts |= {"features": [list(rows.features.shape), str(rows.features.dtype)]}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for column in rows:
        for part in torch.split(column, _PART):
            digest.update(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
