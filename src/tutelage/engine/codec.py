"""A run as JSON and back: ``config.json`` repeats the run that wrote it."""

from collections.abc import Mapping
from dataclasses import field, make_dataclass
from typing import Any

from tutelage.data.protocols import PROTOCOLS, ProtocolConfig
from tutelage.engine.config import RunConfig, StageConfig
from tutelage.errors import ConfigError, InputError, UnknownNameError
from tutelage.methods import METHODS, PHASES, MethodConfig, SumConfig, is_sum, summands

__all__ = ["check_method", "from_json", "method_from", "protocol_from", "to_json"]

FORMAT = "tutelage-run/1"


def to_json(config: RunConfig) -> dict[str, Any]:
    """The run as plain JSON values.

    Example:
        >>> to_json(RunConfig())["data"]["name"]
        'digits'
    """
    content: dict[str, Any] = {"format": FORMAT, "kind": "distill" if config.method else "teach"}
    content |= _converter().unstructure(config)
    content["method"] = _converter().unstructure(config.method, MethodConfig | None)
    return content


def from_json(content: Mapping[str, Any]) -> RunConfig:
    """The run that :func:`to_json` wrote.

    Raises:
        ConfigError: if it is not such a run, names an unknown setting or a value of the wrong type.

    Example:
        >>> from_json(to_json(RunConfig(seed=3))).seed
        3
    """
    if content.get("format") != FORMAT:
        raise ConfigError(f"this is not a run of format {FORMAT!r}: it says {content.get('format')!r}")
    plain = {key: value for key, value in content.items() if key not in ("format", "kind", "method")}
    run: RunConfig = _structured(plain, RunConfig, "the run")
    return run


def stage_to_json(stage: StageConfig) -> dict[str, Any]:
    """One stage as plain JSON values.

    Example:
        >>> stage_to_json(StageConfig(epochs=3))["epochs"]
        3
    """
    content: dict[str, Any] = _converter().unstructure(stage)
    return content


def method_from(name: str, settings: Mapping[str, Any]) -> MethodConfig:
    """The settings of a method from their names and values; those of the parts of a sum stand under the part's key.

    Raises:
        UnknownNameError: if there is no such method.
        ConfigError: if it has no such setting, or a value is of the wrong type or out of range.

    Example:
        >>> method_from("kd", {"temperature": 2}).temperature
        2.0
        >>> method_from("kd+rkd", {"kd": {"temperature": 2}}).parts[0].temperature
        2.0
    """
    for member in [part.name for part in summands(name)] if is_sum(name) else [name]:
        check_method(member)
    method: MethodConfig = _structured({"name": name, **settings}, MethodConfig | None, f"the method {name!r}")
    return method


def protocol_from(name: str, settings: Mapping[str, Any]) -> ProtocolConfig:
    """The settings of a protocol from their names and values.

    Raises:
        UnknownNameError: if there is no such protocol.
        ConfigError: if it has no such setting, or a value is of the wrong type or out of range.

    Example:
        >>> protocol_from("cross-task", {"overlap": 3}).overlap
        3
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS, hint="`tutelage list protocols` shows them")
    whole = {"name": name, **settings}
    protocol: ProtocolConfig = _structured(whole, ProtocolConfig | None, f"the protocol {name!r}")
    return protocol


def check_method(name: str) -> None:
    """Refuse a method that there is not.

    Raises:
        UnknownNameError: with the nearest there are.

    Example:
        >>> check_method("kd")
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS, hint="`tutelage list methods` shows them")


def _structured(content: Mapping[str, Any], kind: Any, what: str) -> Any:
    import cattrs.v

    def said(error: BaseException, kind: type | None) -> str:  # cattrs keeps the message of no ValueError
        return str(error) if isinstance(error, InputError) else cattrs.v.format_exception(error, kind)

    try:
        return _converter().structure(content, kind)
    except cattrs.BaseValidationError as error:
        told = "; ".join(cattrs.transform_error(error, "$", said))
        raise ConfigError(f"{what} cannot be read: {told}") from error


def _converter() -> Any:
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, prefer_attrib_converters=True)
    _register(converter, MethodConfig | None, METHODS | PHASES, "method")
    _register(converter, ProtocolConfig | None, PROTOCOLS, "protocol")
    return converter


def _register(converter: Any, kind: Any, table: Mapping[str, type[Any]], what: str) -> None:
    """Teach the converter a union whose members are told apart by their name."""
    from cattrs import Converter

    plain = Converter(forbid_extra_keys=True)

    def read(content: Any, _: object) -> Any:
        if content is None:
            return None
        settings = dict(content) if isinstance(content, dict) else {"name": content}
        name = str(settings.pop("name", ""))
        if what == "method" and is_sum(name):
            return _added(plain, name, settings)
        if name not in table:
            raise UnknownNameError(what, name, table)
        return plain.structure(settings, table[name])

    def write(member: Any) -> Any:
        if isinstance(member, SumConfig):
            parts = dict(zip(member.keys, map(plain.unstructure, member.parts), strict=True))
            return {"name": member.name, "task_weight": member.task_weight, **parts}
        return {"name": member.name, **plain.unstructure(member)} if member else None

    for member in (kind, *table.values()):
        converter.register_unstructure_hook(member, write)
    converter.register_structure_hook(kind, read)


def _added(plain: Any, name: str, settings: dict[str, Any]) -> SumConfig:
    """The sum of this name: the settings of each part stand under its key."""
    written = summands(name)
    for part in written:
        check_method(part.name)
    kinds = [(part.key, METHODS[part.name], field(default_factory=METHODS[part.name])) for part in written]
    whole = make_dataclass("whole", [*kinds, ("task_weight", float | None, None)])
    found = plain.structure(settings, whole)
    return SumConfig.of(
        [getattr(found, part.key) for part in written],
        weights=[part.weight for part in written],
        task_weight=found.task_weight,
    )
