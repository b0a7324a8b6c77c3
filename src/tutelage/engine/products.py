"""What a stage that trains its method alone makes, kept for other runs: a second student does not pay for it again.

A product is named by all that it depends on: the teacher, the images and how they are shown, the settings of its
stage and of those before, the seed, and how it is computed. It does not depend on the student.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import tutelage
from tutelage.data.dataset import cache_folder
from tutelage.engine.codec import stage_to_json
from tutelage.engine.handover import trains_alone
from tutelage.engine.session import Session
from tutelage.rundir import saving

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Product", "find_product", "products_folder", "products_in", "prune_products"]

FORMAT = "tutelage-stage/1"

_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")


def products_folder() -> Path:
    """Where products are: ``$TUTELAGE_CACHE/stages``."""
    return cache_folder() / "stages"


@dataclass(frozen=True)
class Product:
    """The place of the trained weights and buffers of a method.

    Args:
        path: The file, which may not be there yet.
        facts: All that it depends on, for people: it is written into the file.
    """

    path: Path
    facts: Mapping[str, Any]

    @property
    def teacher(self) -> str:
        """The fingerprint of the teacher; empty where the file is damaged."""
        return str(self.facts.get("teacher", ""))

    @property
    def num_bytes(self) -> int:
        """What it takes on disk."""
        return self.path.stat().st_size

    def restore(self, method: nn.Module, fabric: "Fabric") -> bool:
        """Load it into a method, on every rank what the first one finds; False where there is nothing to be read."""
        found: dict[str, Tensor] | None = self._read() if fabric.is_global_zero else None
        state = fabric.broadcast(found)
        if state is None or not _fits(state, method):
            return False
        method.load_state_dict(state)
        return True

    def keep(self, method: nn.Module) -> None:
        """Write it, whole or not at all, unless it is there.

        Raises:
            RunError: if the disk is full or cannot be written.
        """
        from safetensors.torch import save

        state = method.state_dict()
        if self.path.exists() or not all(isinstance(value, Tensor) for value in state.values()):
            return
        # Waits once, at the end of a stage: the file is written by the host.
        content = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        with saving(self.path) as scratch:
            scratch.write_bytes(save(content, metadata={"facts": json.dumps(self.facts)}))

    def _read(self) -> dict[str, Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path) if self.path.exists() else None
        except (SafetensorError, OSError):
            self.path.unlink(missing_ok=True)  # damaged: it is made anew
            return None


def products_in(folder: Path) -> list[Product]:
    """What is kept in a folder, in the order of the names; a damaged file has no facts, and others are left out.

    Args:
        folder: Such as :func:`products_folder`; it may be absent.

    Example:
        >>> products_in(Path("no/such/folder"))
        []
    """
    files = sorted(file for file in folder.glob("*.safetensors") if _NAME.fullmatch(file.name))
    return [Product(file, facts) for file in files if (facts := _facts_in(file)) is not None]


def prune_products(folder: Path, *, keep: Collection[str], dry_run: bool = True) -> list[Product]:
    """The products of all other teachers, and damaged files; they are deleted unless this is a dry run.

    Args:
        folder: Where they are.
        keep: Fingerprints of the teachers whose products stay.
        dry_run: Whether to only look.
    """
    stale = [product for product in products_in(folder) if product.teacher not in keep]
    if not dry_run:
        for product in stale:
            product.path.unlink(missing_ok=True)  # another process may have found it damaged
    return stale


def find_product(session: Session, number: int) -> Product | None:
    """Where the product of a stage is or will be kept; None where it is not kept.

    That is where the stage trains the student, or one before it does and may be read; where the teacher moves, its
    calls have a budget, or nothing of it is to be kept (``--teacher.cache off``).

    Args:
        session: The parts of the run.
        number: Of the stage.
    """
    method, tutor, config = session.methods[number], session.tutor, session.config
    if tutor is None or config.teacher is None or not all(map(trains_alone, session.methods[: number + 1])):
        return None
    answers = config.teacher.answers
    if config.teacher.kind == "student" or answers.cache == "off" or answers.budget is not None:
        return None
    stages = config.stages[: number + 1]
    facts = {
        "format": FORMAT,
        "version": tutelage.__version__,
        "teacher": tutor.source.fingerprint,
        "taps": {role: list(shape) for role, shape in tutor.source.shapes.items()} | dict(config.teacher.taps),
        "data": session.data.fingerprint,
        "train": _hash(session.division.train),
        "answered": _hash(session.division.answered),
        "views": [session.views.fingerprint, tutor.views.fingerprint, tutor.view],
        "top": answers.top,
        "batches": [config.data.batch_size, config.data.images_per_class, config.data.size],
        # How it is mixed, begun and told of does not matter where no student is trained.
        "stages": [stage_to_json(replace(stage, mix=None, start="last", phase=True)) for stage in stages],
        "seed": config.seed,
        "computed": [session.fabric.world_size, session.fabric._precision.precision, session.fabric.device.type],
        "state": {name: _shape(value) for name, value in method.state_dict().items()} if method else {},
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return Product(products_folder() / f"{name}.safetensors", facts)


def _facts_in(file: Path) -> dict[str, Any] | None:
    """The facts that a file was written with; none where it is damaged, None where it is no product."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            facts: dict[str, Any] = json.loads((opened.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError):
        return {}
    return facts if facts.get("format") == FORMAT else None


def _hash(ids: Tensor) -> str:
    # Ids of the training set, once before a stage; they are on the host already.
    return hashlib.sha256(ids.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _shape(value: Any) -> Any:
    return [str(value.dtype), *value.shape] if isinstance(value, Tensor) else type(value).__name__


def _fits(state: Mapping[str, Tensor], method: nn.Module) -> bool:
    own = method.state_dict()
    return own.keys() == state.keys() and all(torch.is_tensor(v) and v.shape == state[k].shape for k, v in own.items())
