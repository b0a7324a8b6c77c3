"""Approximate search of other classes with FAISS: for sets so large that all products take too long.

Needs the extra ``faiss``; this module is imported by whoever wants it, and brings FAISS in when it searches. Two
rows of one class are compared exactly all the same, see :func:`~tutelage.memory.neighbours.neighbours`; and what FAISS
proposes is scored and ordered as by exact search. Say the recall beside every result:
:func:`~tutelage.memory.neighbours.measured_recall`.

Letters: n keys, q queries, k neighbours.
"""

import importlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ConfigError, MissingExtraError
from tutelage.memory.candidates import ordered_candidates
from tutelage.memory.sorting import Asked, SortedRows

__all__ = ["FaissSearch"]

_LARGEST_GPU_LIST = 2048
"""The longest list that FAISS returns from a GPU (its GPU_MAX_SELECTION_K)."""


@dataclass(frozen=True, kw_only=True)
class FaissSearch:
    """A FAISS index over all rows, asked for rows outside the class of the query.

    Args:
        kind: ``"flat"`` (exact), ``"ivf"`` (the nearest cells of a k-means are searched) or ``"hnsw"`` (a graph of
            near rows is walked).
        cells: Of ``"ivf"``; ``None``: √n · 4, as FAISS advises.
        probes: Cells that are searched. Rows of other classes lie in other cells, so that many are needed.
        links: Of ``"hnsw"``, a node.
        breadth: Rows that ``"hnsw"`` keeps in view. The class of a query is walked through, not returned, so that
            it has to be larger than a class.
        gpu: Search on all GPUs where the installed FAISS has them (``"flat"`` and ``"ivf"``). A GPU cannot leave
            a class out: it returns k and the size of the class, at most 2,048, which are then sifted.

    Raises:
        ConfigError: if a setting is out of range.

    Example:
        >>> FaissSearch(kind="ivf", probes=8).identity
        'faiss-ivf-cells=None-probes=8'
    """

    kind: Literal["flat", "ivf", "hnsw"] = "flat"
    cells: int | None = None
    probes: int = 64
    links: int = 32
    breadth: int = 1024
    gpu: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("flat", "ivf", "hnsw"):
            raise ConfigError(f"kind must be 'flat', 'ivf' or 'hnsw', got {self.kind!r}")
        for name in ("cells", "probes", "links", "breadth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.gpu and self.kind == "hnsw":
            raise ConfigError("FAISS has no 'hnsw' on a GPU: use 'ivf', or gpu=False")

    @property
    def identity(self) -> str:
        """What the answers depend on."""
        of_kind = {
            "flat": "",
            "ivf": f"-cells={self.cells}-probes={self.probes}",
            "hnsw": f"-links={self.links}-breadth={self.breadth}",
        }
        return f"faiss-{self.kind}{of_kind[self.kind]}"

    def others(self, keys: SortedRows, asked: Asked, k: int) -> tuple[Tensor, Tensor]:
        """Similarities and places of the nearest keys of other classes, as far as the index finds them.

        Raises:
            MissingExtraError: if FAISS is not installed.
            ConfigError: if a GPU is wanted and there is none, or the classes are too large for one.
        """
        faiss = _faiss()
        if self.gpu and faiss.get_num_gpus() == 0:
            raise ConfigError("the installed FAISS sees no GPU: install a build for GPUs, or set gpu=False")
        faiss.omp_set_num_threads(torch.get_num_threads())
        index = self._index(faiss, keys)
        parts = []
        for low, high, part in asked.classes():
            queries = asked.features[part].float().cpu().contiguous().numpy()
            places = torch.from_numpy(self._outside(faiss, index, queries, k, (low, high))).to(keys.ids.device)
            itself = asked.own[part].unsqueeze(1)  # a query may come with another label than its row
            wrong = (places == itself) | ((places >= low) & (places < high))
            parts.append(places.masked_fill(wrong, -1))
        widest = max(part.shape[1] for part in parts)
        places = torch.cat([torch.nn.functional.pad(part, (0, widest - part.shape[1]), value=-1) for part in parts])
        return ordered_candidates(asked.features, keys.features, places, k, ids=keys.ids)

    def _index(self, faiss: Any, keys: SortedRows) -> Any:
        rows = keys.features.float().cpu().contiguous().numpy()
        count, width = rows.shape
        if self.kind == "flat":
            index = faiss.IndexFlatIP(width)
        elif self.kind == "ivf":
            cells = min(count, self.cells or max(1, round(4 * math.sqrt(count))))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
            index.cp.min_points_per_centroid = 1  # or it warns: whether there are enough cells is seen by the recall
            index.nprobe = min(self.probes, cells)
        else:
            index = faiss.IndexHNSWFlat(width, self.links, faiss.METRIC_INNER_PRODUCT)
        if self.gpu:
            index = faiss.index_cpu_to_all_gpus(index)
        if not index.is_trained:
            index.train(rows)
        index.add(rows)
        return index

    def _outside(self, faiss: Any, index: Any, queries: Any, k: int, own_class: tuple[int, int]) -> Any:
        """Places of keys, k + 1 of them outside the range where the index finds so many; −1 pads."""
        low, high = own_class
        if self.gpu:
            wanted = k + 1 + high - low
            if wanted > _LARGEST_GPU_LIST:
                raise ConfigError(
                    f"FAISS returns at most {_LARGEST_GPU_LIST} rows from a GPU, and {wanted} are needed to pass by a "
                    f"class of {high - low}: set gpu=False, or use exact search on the GPU"
                )
            return index.search(queries, min(wanted, index.ntotal))[1]
        own = faiss.IDSelectorRange(low, high)
        others = faiss.IDSelectorNot(own)
        if self.kind == "ivf":
            settings = faiss.SearchParametersIVF(sel=others, nprobe=index.nprobe)
        elif self.kind == "hnsw":
            settings = faiss.SearchParametersHNSW(sel=others, efSearch=self.breadth)
        else:
            settings = faiss.SearchParameters(sel=others)
        return index.search(queries, min(k + 1, index.ntotal), params=settings)[1]


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except (ImportError, OSError) as error:  # a missing shared library is an OSError
        raise MissingExtraError("faiss", error) from error
