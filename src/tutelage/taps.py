"""Features by role: forward hooks on module paths, put on the bare module before anything wraps it.

A tap is written as a module path: ``"stage2"`` is what that submodule returns, ``"fc:in"`` what it receives.
Hooks that are put on after ``torch.compile`` or DDP has wrapped a module capture nothing, silently; so
:class:`Taps` takes the bare module, and what is wrapped later is the network that owns it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from tutelage.errors import ConfigError, ShapeError, UnknownNameError

__all__ = ["Tap", "Taps", "find_embedding"]


class Tap(NamedTuple):
    """A place in a module: the input or the output of one submodule.

    Example:
        >>> Tap.parse("fc:in")
        Tap(path='fc', side='in')
    """

    path: str
    side: Literal["in", "out"]

    @classmethod
    def parse(cls, text: str) -> "Tap":
        """Read ``"path"`` (output), ``"path:out"`` or ``"path:in"``.

        Raises:
            ConfigError: if what follows the colon is neither ``in`` nor ``out``.
        """
        path, _, side = text.partition(":")
        if side == "in":
            return cls(path, "in")
        if side in ("", "out"):
            return cls(path, "out")
        raise ConfigError(f"a tap is 'path', 'path:in' or 'path:out', got {text!r}")


def find_embedding(model: nn.Module) -> Tap:
    """The input of the last ``nn.Linear``: the penultimate vector of nearly every classifier.

    Raises:
        ConfigError: if the module holds no ``nn.Linear``.

    Example:
        >>> find_embedding(nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        Tap(path='3', side='in')
    """
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ConfigError(
            "this model holds no nn.Linear, so its embedding cannot be found: name it, as in embedding=PATH"
        )
    return Tap(linear[-1], "in")


class Taps:
    """Captures the features of the asked roles while a module runs.

    Args:
        model: The bare module, before ``torch.compile`` or DDP wraps it.
        places: Role → tap, such as ``{"stage2": "stage2", "embedding": "fc:in"}``.

    Raises:
        UnknownNameError: if a path is not a submodule; names the five nearest.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> taps = Taps(model, {"hidden": "1", "embedding": "2:in"})
        >>> _ = model(torch.ones(5, 3))
        >>> {role: tuple(value.shape) for role, value in taps.take().items()}
        {'hidden': (5, 4), 'embedding': (5, 4)}
    """

    def __init__(self, model: nn.Module, places: Mapping[str, str]) -> None:
        self.places = {role: Tap.parse(text) for role, text in places.items()}
        modules = dict(model.named_modules())
        for role, tap in self.places.items():
            if tap.path not in modules:
                raise UnknownNameError(f"module path for the tap {role!r}", tap.path, filter(None, modules))
        self._captured: dict[str, Tensor] = {}
        self._handles: list[Any] = []
        self._modules = modules
        self.listen(self.places)

    def listen(self, roles: Iterable[str]) -> None:
        """Capture these roles only: a feature map that nobody reads is not kept alive.

        Raises:
            UnknownNameError: if a role has no place; names the nearest.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for role in roles:
            if role not in self.places:
                raise UnknownNameError(
                    "tap", role, self.places, hint=f"Name its module path, as in --student.taps {role}=PATH"
                )
            self._handles.append(self._hook(role, self.places[role]))

    def _hook(self, role: str, tap: Tap) -> Any:
        module = self._modules[tap.path]
        if tap.side == "in":
            return module.register_forward_pre_hook(lambda _, args: self._keep(role, args[0] if args else None))
        return module.register_forward_hook(lambda _, __, out: self._keep(role, out))

    def _keep(self, role: str, value: object) -> None:
        if not isinstance(value, Tensor):
            raise ShapeError(
                f"the tap {role!r} must meet one tensor, but module {self.places[role].path!r} "
                f"passes a {type(value).__name__}: choose a path inside it"
            )
        self._captured[role] = value

    def take(self) -> dict[str, Tensor]:
        """The features of the last forward; forgets them, so that no graph outlives its step."""
        captured, self._captured = self._captured, {}
        return captured

    def __repr__(self) -> str:
        return f"Taps({', '.join(f'{role}={tap.path}:{tap.side}' for role, tap in self.places.items())})"
