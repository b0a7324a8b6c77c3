"""Teachers: one protocol, whatever stands behind it."""

from tutelage.teachers.averaging import AveragingTeacher
from tutelage.teachers.budgeted import BudgetedTeacher
from tutelage.teachers.cached import CachedTeacher
from tutelage.teachers.callable import CallableTeacher
from tutelage.teachers.http import HttpTeacher
from tutelage.teachers.ledger import Call, Ledger
from tutelage.teachers.live import LiveTeacher
from tutelage.teachers.moving import EMATeacher, MovingTeacher, SnapshotTeacher
from tutelage.teachers.planning import balanced_plan, k_centre_plan, random_plan
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.rows import Content
from tutelage.teachers.selecting import ChosenTeacher, FixedViewTeacher
from tutelage.teachers.server import TeacherServer, serve
from tutelage.teachers.store import AnswerStore, Subject, stores_in
from tutelage.teachers.upkeep import Stats, Verified, fill, merge, prune, stats, verify

__all__ = [
    "AnswerStore",
    "AveragingTeacher",
    "BudgetedTeacher",
    "CachedTeacher",
    "Call",
    "CallableTeacher",
    "ChosenTeacher",
    "Content",
    "EMATeacher",
    "FixedViewTeacher",
    "HttpTeacher",
    "Ledger",
    "LiveTeacher",
    "MovingTeacher",
    "SnapshotTeacher",
    "Stats",
    "Subject",
    "Teacher",
    "TeacherServer",
    "Verified",
    "balanced_plan",
    "fill",
    "k_centre_plan",
    "merge",
    "prune",
    "random_plan",
    "serve",
    "stats",
    "stores_in",
    "verify",
]
