"""Teachers: one protocol, whatever stands behind it."""

from tutelage.teachers.budgeted import BudgetedTeacher
from tutelage.teachers.cached import CachedTeacher
from tutelage.teachers.ledger import Call, Ledger
from tutelage.teachers.live import LiveTeacher
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.rows import Content
from tutelage.teachers.store import AnswerStore, Subject
from tutelage.teachers.upkeep import Stats, Verified, fill, merge, prune, stats, verify

__all__ = [
    "AnswerStore",
    "BudgetedTeacher",
    "CachedTeacher",
    "Call",
    "Content",
    "Ledger",
    "LiveTeacher",
    "Stats",
    "Subject",
    "Teacher",
    "Verified",
    "fill",
    "merge",
    "prune",
    "stats",
    "verify",
]
