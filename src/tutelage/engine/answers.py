"""What is done with a teacher's answers outside a run: they are verified, accounted for, and served.

Letters: n samples, c channels, h height, w width.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from tutelage.data import Dataset, Views
from tutelage.data.loader import rendered, resident
from tutelage.engine.codec import from_json
from tutelage.engine.config import EngineConfig
from tutelage.engine.opening import open_teacher
from tutelage.engine.session import open_fabric
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.engine.tutor import LEDGER
from tutelage.errors import ConfigError, DataError
from tutelage.models import Network, load_network
from tutelage.rundir import RunDir
from tutelage.teachers import AnswerStore, Ledger, TeacherServer, Verified, serve, stores_in, verify
from tutelage.teachers.upkeep import Render
from tutelage.types import Outputs

__all__ = ["find_ledger", "make_render", "serve_network", "trained_on", "verify_answers"]


def make_render(data: Dataset, views: Views, device: torch.device) -> Render:
    """What makes batches of any (ids, views) of the training images on a device."""
    store = resident(data.train, device)
    return lambda ids, numbers: rendered(store, views, ids, numbers, device=device)


def verify_answers(
    teacher: TeacherConfig,
    data: Dataset,
    folder: Path,
    *,
    sample: int = 256,
    seed: int = 0,
    engine: EngineConfig | None = None,
) -> list[tuple[AnswerStore, Verified]]:
    """Ask a teacher again for some answers in each of its caches; it is really asked, without cache or budget.

    Args:
        teacher: Which one; what its config says of answers is not used.
        data: The images that it answered to.
        folder: One cache, or a folder of caches.
        sample: How many answers of each cache.
        seed: Which answers; and that of the run, where views depend on it.
        engine: Where and how it computes: as when the answers were bought.

    Returns:
        Each of its caches and what was found there.

    Raises:
        DataError: if there is no cache of this teacher's answers to these images.
    """
    fabric = open_fabric(replace(engine or EngineConfig(), devices=1))
    source, views = open_teacher(teacher, data, fabric), data.views(seed=seed)
    wanted = {"teacher": source.fingerprint, "views": views.fingerprint, "data": data.train.checksum}
    given = stores_in(folder)
    stores = [store for store in given if wanted.items() <= store.subject.facts().items()]
    if not stores:
        raise DataError(
            f"{folder} holds no answers of teacher {source.fingerprint} to {data.name} ({_otherwise(given, wanted)}): "
            f"see what is there with `tutelage cache stats`; a teacher of another precision is another teacher"
        )
    render = make_render(data, views, fabric.device)
    return [(store, verify(store, source, render, sample=sample, seed=seed)) for store in stores]


def _otherwise(given: list[AnswerStore], wanted: Mapping[str, str]) -> str:
    if len(given) != 1:
        return f"there are {len(given)} caches"
    held = given[0].subject.facts()
    return "; ".join(f"{name} is {held[name]}, wanted {fact}" for name, fact in wanted.items() if held[name] != fact)


def trained_on(weights: str) -> str:
    """On which data a stored network was trained.

    Raises:
        ConfigError: if it does not say, or there is no network but a server or a function.
    """
    stored = TeacherConfig(weights=weights).kind == "network"
    data = str(load_network(Path(weights)).card.training.get("data", "")) if stored else ""
    if not data:
        raise ConfigError(f"{weights} does not say on which data it was trained: name the data that it answered to")
    return data


def find_ledger(path: Path) -> Ledger:
    """The ledger of a run, of a cache, or in a file.

    Raises:
        DataError: if there is none.
    """
    file = path
    if path.is_dir():
        file = path / LEDGER
        config = from_json(RunDir(path).read_json("config.json")) if (path / "config.json").is_file() else None
        if config is not None and config.teacher is not None and config.teacher.answers.ledger is not None:
            file = Path(config.teacher.answers.ledger)
    if not file.is_file():
        raise DataError(
            f"there is no ledger at {file}: name a run whose teacher's calls are counted (it has a budget, a price or "
            f"a cache), a cache that was filled, or the file"
        )
    return Ledger(file)


class _InParts(Network):
    """A network that takes many images a few at a time, so that one large request does not take all memory.

    Args:
        network: What answers; it falls silent itself.
        batch_size: The most images at once.
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        network.listen(())
        super().__init__(network.model, network.card)
        self._most = batch_size

    def forward(self, images: Shaped[Tensor, "n c h w"]) -> Outputs:
        """The logits of a batch of pixels in 0–255."""
        whole = super().forward
        return Outputs(torch.cat([whole(part).logits for part in torch.split(images, self._most)]), {})


def serve_network(
    path: Path, *, host: str = "127.0.0.1", port: int = 0, batch_size: int = 256, accelerator: str = "auto"
) -> TeacherServer:
    """Serve a stored network over HTTP, in single precision.

    Args:
        path: A run directory, or a ``.safetensors`` file with its card beside it.
        host: Address to listen at.
        port: 0 for any free one.
        batch_size: The most images it sees at once.
        accelerator: Where it computes.

    Raises:
        ConfigError: if a setting is out of range, the address is taken or the accelerator absent.
        DataError: if there is no such network.
    """
    if batch_size < 1:
        raise ConfigError(f"the teacher's batch size must be at least 1, got {batch_size}")
    network = load_network(path)
    device = open_fabric(EngineConfig(accelerator=accelerator, precision="32")).device
    return serve(_InParts(network, batch_size).to(device), host=host, port=port)
