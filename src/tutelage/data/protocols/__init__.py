"""Protocols: which classes are learnt, which images train or are held out, and which may be sent to the teacher."""

from typing import Any

from tutelage.data.protocols.base import Classes, ClassProtocol, Division, ProtocolConfig, divided
from tutelage.data.protocols.cross_task import CrossTask
from tutelage.data.protocols.few_calls import FewTeacherCalls
from tutelage.data.protocols.incremental import Incremental
from tutelage.data.protocols.standard import Standard

__all__ = [
    "PROTOCOLS",
    "ClassProtocol",
    "Classes",
    "CrossTask",
    "Division",
    "FewTeacherCalls",
    "Incremental",
    "ProtocolConfig",
    "Standard",
    "divided",
]

PROTOCOLS: dict[str, type[Any]] = {
    "cross-task": CrossTask,
    "few-teacher-calls": FewTeacherCalls,
    "incremental": Incremental,
    "standard": Standard,
}
