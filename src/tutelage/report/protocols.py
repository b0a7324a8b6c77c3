"""What a run was allowed to ask its teacher, where the protocol of its data says so."""

from typing import Any, NamedTuple

from tutelage.report.fields import Fields
from tutelage.report.runs import Run

__all__ = ["FewCalls", "few_calls"]


class FewCalls(NamedTuple):
    """The protocol few-teacher-calls: a subset, a share of it held out, each of the others sent once.

    Attributes:
        subset_size: Images.
        validation: Share held out.
        unused: What becomes of the images outside: ``"ignore"`` or ``"labels"``.
    """

    subset_size: int
    validation: float
    unused: str

    @property
    def calls(self) -> int:
        """How many images are sent.

        Example:
            >>> FewCalls(2000, 0.2, "ignore").calls
            1600
        """
        return self.subset_size - round(self.validation * self.subset_size)


def few_calls(run: Run) -> FewCalls | None:
    """The protocol of a run, or None if it has another or none.

    Raises:
        DataError: if the configuration names the protocol without its settings.

    Example:
        >>> protocol = {"name": "few-teacher-calls", "subset_size": 100, "validation": 0.2, "unused": "ignore"}
        >>> few_calls(Run(name="a", config={"data": {"protocol": protocol}}, result=None)).calls
        80
    """
    data: Any = run.config.get("data")
    protocol = data.get("protocol") if isinstance(data, dict) else None
    if not isinstance(protocol, dict) or protocol.get("name") != "few-teacher-calls":
        return None
    fields = Fields(f"config.json of {run.name}", protocol, "data.protocol.")
    return FewCalls(fields.count("subset_size"), fields.fraction("validation"), fields.text("unused"))
