"""A run as JSON and back: ``config.json`` repeats the run that wrote it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tutelage.engine.config import RunConfig
from tutelage.errors import ConfigError, InputError, UnknownNameError
from tutelage.methods import METHODS, MethodConfig

__all__ = ["from_json", "to_json"]

FORMAT = "tutelage-run/1"


def to_json(config: RunConfig) -> dict[str, Any]:
    """The run as plain JSON values.

    Example:
        >>> to_json(RunConfig())["data"]["name"]
        'digits'
    """
    content: dict[str, Any] = {"format": FORMAT, "kind": "distill" if config.teacher else "teach"}
    content |= _converter().unstructure(config)
    content["method"] = {"name": method.name, **dataclasses.asdict(method)} if (method := config.method) else None  # type: ignore[call-overload]
    return content


def from_json(content: Mapping[str, Any]) -> RunConfig:
    """The run that :func:`to_json` wrote.

    Raises:
        ConfigError: if it is not such a run, names an unknown setting or a value of the wrong type.

    Example:
        >>> from_json(to_json(RunConfig(seed=3))).seed
        3
    """
    import cattrs.v

    if content.get("format") != FORMAT:
        raise ConfigError(f"this is not a run of format {FORMAT!r}: it says {content.get('format')!r}")

    def said(error: BaseException, kind: type | None) -> str:  # cattrs keeps the message of no ValueError
        return str(error) if isinstance(error, InputError) else cattrs.v.format_exception(error, kind)

    try:
        plain = {key: value for key, value in content.items() if key not in ("format", "kind", "method")}
        run: RunConfig = _converter().structure(plain, RunConfig)
    except cattrs.BaseValidationError as error:
        raise ConfigError("the run cannot be read: " + "; ".join(cattrs.transform_error(error, "$", said))) from error
    return run


def _converter() -> Any:
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, prefer_attrib_converters=True)
    plain = Converter(forbid_extra_keys=True)

    def read(content: Any, _: object) -> MethodConfig | None:
        if content is None:
            return None
        settings = dict(content) if isinstance(content, dict) else {"name": content}
        name = str(settings.pop("name", ""))
        if name not in METHODS:
            raise UnknownNameError("method", name, METHODS)
        method: MethodConfig = plain.structure(settings, METHODS[name])
        return method

    for kind in (MethodConfig | None, *METHODS.values()):
        converter.register_unstructure_hook(kind, lambda m: {"name": m.name, **plain.unstructure(m)} if m else None)
    converter.register_structure_hook(MethodConfig | None, read)
    return converter
