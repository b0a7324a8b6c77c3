"""What a method remembers of samples, and which samples are near each other.

A :class:`Bank` holds a row for every sample of a data set, a :class:`Ring` the newest rows of a stream; both are saved
whole, never random, and drop no row. :func:`neighbours` finds in-context samples exactly, with bounded memory; a
:class:`Graph` keeps them for look-up by id. :mod:`tutelage.memory.faiss_search` is for sets beyond that.

Example:
    >>> import torch
    >>> bank = Bank(4, features=2)
    >>> bank.update(torch.arange(4), torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]),
    ...             labels=torch.tensor([0, 0, 1, 1]))
    >>> graph = Graph.build(bank.rows(), k_same=1, k_other=1)
    >>> graph(torch.tensor([0])).other
    tensor([[2]])
"""

from tutelage.memory.bank import Bank
from tutelage.memory.graph import Graph, graph_fingerprint
from tutelage.memory.neighbours import OtherClassSearch, Recall, Search, measured_recall, neighbours, query, recall
from tutelage.memory.ring import Ring
from tutelage.memory.rows import Entries, Neighbours, Rows
from tutelage.memory.search import BlockwiseSearch, nearest

__all__ = [
    "Bank",
    "BlockwiseSearch",
    "Entries",
    "Graph",
    "Neighbours",
    "OtherClassSearch",
    "Recall",
    "Ring",
    "Rows",
    "Search",
    "graph_fingerprint",
    "measured_recall",
    "nearest",
    "neighbours",
    "query",
    "recall",
]
