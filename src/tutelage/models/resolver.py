"""From a written spec (zoo, timm, Hugging Face, or a Python function) to a network.

Letters: n samples, c channels, h height, w width, k classes.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.errors import ConfigError, MissingExtraError, TutelageError, UnknownNameError
from tutelage.models.zoo import ZOO

__all__ = ["HuggingFaceClassifier", "import_function", "resolve"]

FORMS = "A model is zoo:NAME, timm:NAME, hf:NAME_OR_PATH or python:MODULE:FACTORY"
SCHEMES = ("hf", "python", "timm", "zoo")

BROKEN_IMPORT = (ImportError, RuntimeError, OSError)
"""What the import of an absent or broken package raises: torchvision built for another torch a RuntimeError
(``operator torchvision::nms does not exist``), a missing shared library an OSError."""


USER_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What code of the user's own may raise: it is told in one line, with the name of the function."""


def resolve(spec: str, *, num_classes: int, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
    """Build the network that a spec names.

    Args:
        spec: ``zoo:NAME`` (or NAME alone), ``timm:NAME``, ``hf:NAME_OR_PATH`` or ``python:MODULE:FACTORY``.
            A factory is called with ``num_classes``, and with ``in_channels`` and ``pretrained`` if its
            signature has them.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        pretrained: Load the published weights (timm, hf, a factory that takes it); the head is drawn anew where
            the number of classes differs.

    Returns:
        The bare module: normalised images ``(n, c, h, w)`` in, logits ``(n, k)`` out.

    Raises:
        UnknownNameError: if the scheme, the network or the factory does not exist; names the nearest.
        ConfigError: if it exists and cannot be built as asked.
        MissingExtraError: if the spec needs timm or transformers and the package is absent or broken.

    Example:
        >>> resolve("zoo:resnet8", num_classes=5).fc
        Linear(in_features=64, out_features=5, bias=True)
        >>> resolve("resnet9", num_classes=5)
        Traceback (most recent call last):
        tutelage.errors.UnknownNameError: unknown zoo network 'resnet9'; the nearest of 25: ...
    """
    if num_classes < 1 or in_channels < 1:
        raise ConfigError(
            f"a network needs at least one class and one channel, got {num_classes} classes and {in_channels} channels"
        )
    scheme, colon, name = spec.partition(":")
    if not colon:
        scheme, name = "zoo", spec
    match scheme:
        case "zoo":
            return _zoo(name, num_classes, in_channels, pretrained)
        case "timm":
            return _timm(name, num_classes, in_channels, pretrained)
        case "hf":
            return _hugging_face(name, num_classes, in_channels, pretrained)
        case "python":
            return _python(name, num_classes, in_channels, pretrained)
    raise UnknownNameError("model scheme", scheme, SCHEMES, hint=FORMS)


def _zoo(name: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    if name not in ZOO:
        raise UnknownNameError("zoo network", name, ZOO, hint=FORMS)
    if pretrained:
        raise ConfigError(f"the zoo has no pretrained weights, so zoo:{name} cannot be pretrained: train it first")
    return ZOO[name](num_classes=num_classes, in_channels=in_channels)


def _timm(name: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    try:
        timm: Any = importlib.import_module("timm")
    except BROKEN_IMPORT as error:
        raise MissingExtraError("timm", error) from error
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)
    except RuntimeError as error:
        if "unknown model" in str(error).lower():
            raise UnknownNameError("timm model", name, timm.list_models()) from error
        raise ConfigError(f"timm cannot build {name!r}: {_brief(error)}") from error
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"timm cannot build {name!r}: {_brief(error)}") from error
    return _module(model, f"timm:{name}")


class HuggingFaceClassifier(nn.Module):
    """An image classifier of transformers that returns its logits alone.

    Args:
        model: A module whose ``forward(pixel_values=…)`` returns an object with ``logits``.

    Example:
        >>> import torch, types
        >>> class Model(nn.Module):
        ...     def forward(self, pixel_values):
        ...         return types.SimpleNamespace(logits=pixel_values.mean((2, 3)))
        >>> HuggingFaceClassifier(Model())(torch.ones(1, 2, 4, 4))
        tensor([[1., 1.]])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The logits of a batch of images."""
        logits: Tensor = self.model(pixel_values=x).logits
        return logits


def _hugging_face(name: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    try:
        transformers: Any = importlib.import_module("transformers")
        configs, models = transformers.AutoConfig, transformers.AutoModelForImageClassification
    except BROKEN_IMPORT as error:
        raise MissingExtraError("hf", error) from error
    try:
        config = configs.from_pretrained(name, num_labels=num_classes)
        _set_channels(config, name, in_channels, pretrained)
        if pretrained:
            model = models.from_pretrained(name, config=config, ignore_mismatched_sizes=True)
        else:
            model = models.from_config(config)
    except ConfigError:
        raise
    except ImportError as error:
        # transformers imports the file of a model when the model is built, and the packages it needs with it.
        raise MissingExtraError("hf", error) from error
    except RuntimeError as error:
        if "failed to import" in str(error).lower():
            raise MissingExtraError("hf", error) from error
        raise ConfigError(f"transformers cannot build {name!r}: {_brief(error)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"transformers cannot load {name!r} ({_brief(error)}): give a folder with config.json (and weights) "
            "of an image classifier, or its name on the hub while the hub can be reached"
        ) from error
    return HuggingFaceClassifier(_module(model, f"hf:{name}"))


def _set_channels(config: Any, name: str, in_channels: int, pretrained: bool) -> None:
    """Ask for ``in_channels``, unless that would put random numbers in the place of loaded weights, silently."""
    channels: int = getattr(config, "num_channels", 3)
    if channels == in_channels:
        return
    if pretrained or not hasattr(config, "num_channels"):
        fixed = "its weights are" if pretrained else "it is"
        raise ConfigError(
            f"hf:{name} cannot take images of {in_channels} channels, {fixed} made for {channels}: "
            f"give images of {channels} channels or another model"
        )
    config.num_channels = in_channels


def _python(target: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    return _call(import_function(target), f"python:{target}", num_classes, in_channels, pretrained)


def import_function(target: str) -> Callable[..., Any]:
    """The function or class that ``MODULE:NAME`` names.

    Raises:
        ConfigError: if it is written otherwise, or the module cannot be imported.
        UnknownNameError: if the module has no such function.

    Example:
        >>> import_function("math:sqrt")(9)
        3.0
    """
    path, colon, name = target.partition(":")
    if not (path and colon and name):
        raise ConfigError(f"a model of your own is python:MODULE:FACTORY, got 'python:{target}'")
    try:
        module = importlib.import_module(path)
    except (ImportError, TypeError) as error:  # a TypeError for a relative name such as '.mine'
        raise ConfigError(
            f"the module {path!r} of 'python:{target}' cannot be imported ({error}): "
            "put its folder on the path, as in PYTHONPATH=FOLDER"
        ) from error
    except (SyntaxError, *USER_FAILURES) as error:
        raise ConfigError(
            f"the module {path!r} of 'python:{target}' fails when it is imported ({type(error).__name__}: {error}): "
            "mend it; --debug shows where"
        ) from error
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"{path} factory", name, known)
    function: Callable[..., Any] = factory
    return function


def _call(factory: Any, spec: str, num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Call with ``num_classes`` and with what else the signature takes."""
    wanted: dict[str, object] = {"num_classes": num_classes}
    optional: dict[str, object] = {"in_channels": in_channels, "pretrained": pretrained}
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    wanted |= {key: value for key, value in optional.items() if takes_all or key in parameters}
    if pretrained and "pretrained" not in wanted:
        raise ConfigError(f"{spec} cannot be pretrained: its factory takes no argument `pretrained`")
    try:
        return _module(factory(**wanted), spec)
    except TutelageError:
        raise
    except USER_FAILURES as error:
        given = ", ".join(f"{key}={value}" for key, value in wanted.items())
        raise ConfigError(f"{spec} was called with {given} and raised {type(error).__name__}: {error}") from error


def _module(built: object, spec: str) -> nn.Module:
    if not isinstance(built, nn.Module):
        raise ConfigError(f"{spec} must return a torch.nn.Module, got {type(built).__name__}")
    return built


def _brief(error: Exception) -> str:
    """The first line of a message: those of the hub go on for a page."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
