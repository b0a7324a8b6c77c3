"""Mathematics without a paper: safe distances, angles, divergences, precision and input checks.

Import from the module that holds the function, such as ``from tutelage.ops.distances import distances``.
"""

__all__: list[str] = []
