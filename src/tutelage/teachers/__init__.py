"""Teachers: one protocol, whatever stands behind it."""

from tutelage.teachers.live import LiveTeacher
from tutelage.teachers.protocol import Teacher

__all__ = ["LiveTeacher", "Teacher"]
