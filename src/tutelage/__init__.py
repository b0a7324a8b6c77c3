"""Knowledge distillation by how samples relate."""

__all__ = ["__version__"]

__version__ = "0.1.0"
