"""Sums of methods."""

from tutelage.methods.sum.config import Sum, SumConfig, Summable
from tutelage.methods.sum.parts import Summand, is_sum, merged, numbered, summands

__all__ = ["Sum", "SumConfig", "Summable", "Summand", "is_sum", "merged", "numbered", "summands"]
