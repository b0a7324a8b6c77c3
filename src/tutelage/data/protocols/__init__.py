"""Protocols: which images train, which are held out, and which may be sent to the teacher."""

from typing import Any

from tutelage.data.protocols.base import Division, ProtocolConfig
from tutelage.data.protocols.few_calls import FewTeacherCalls
from tutelage.data.protocols.standard import Standard

__all__ = ["PROTOCOLS", "Division", "FewTeacherCalls", "ProtocolConfig", "Standard"]

PROTOCOLS: dict[str, type[Any]] = {
    "few-teacher-calls": FewTeacherCalls,
    "standard": Standard,
}
