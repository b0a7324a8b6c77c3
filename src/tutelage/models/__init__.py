"""Models: the networks of the literature, a resolver for any other, and networks on disk."""

from tutelage.models.checkpoint import build_network, load_network, save_network
from tutelage.models.network import ModelCard, Network
from tutelage.models.resolver import resolve
from tutelage.models.zoo import ZOO

__all__ = ["ZOO", "ModelCard", "Network", "build_network", "load_network", "resolve", "save_network"]
