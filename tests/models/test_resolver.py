"""A spec becomes a network, or one clear error."""

import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, MissingExtraError, UnknownNameError
from tutelage.models.resolver import HuggingFaceClassifier, resolve
from tutelage.models.zoo import ZOO
from tutelage.taps import Taps, find_embedding


class Linear(nn.Module):
    """Stands for a network of timm: the mean over the image, a linear head."""

    def __init__(self, channels: int, classes: int, pretrained: bool) -> None:
        super().__init__()
        self.head = nn.Linear(channels, classes)
        self.pretrained = pretrained

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def install(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three functions' worth of timm 1.0: what `create_model` takes, builds and raises."""

    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> object:
        if name == "resnet50":
            return Linear(in_chans, num_classes, pretrained)
        if name == "no_weights" and pretrained:
            raise RuntimeError(f"No pretrained weights exist for {name}. Use `pretrained=False` for random init.")
        if name == "offline":
            raise OSError("cannot reach the hub\nsee https://…")
        if name == "tuple":
            return ("not", "a", "module")
        raise RuntimeError(f"Unknown model ({name})")

    install(monkeypatch, "timm", create_model=create_model, list_models=lambda: ["resnet18", "resnet50", "vgg11"])


class Config(SimpleNamespace):
    """Stands for a configuration of transformers."""


class ViT(nn.Module):
    def __init__(self, config: Config, source: str, **options: object) -> None:
        super().__init__()
        self.classifier = nn.Linear(getattr(config, "num_channels", 3), config.num_labels)
        self.source = source
        self.options = options

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=None, logits=self.classifier(pixel_values.mean((2, 3))))


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of transformers 5.23 that is used, with the errors that it raises there."""

    class AutoConfig:
        @staticmethod
        def from_pretrained(name: str, *, num_labels: int) -> Config:
            if name == "nobody/nothing":
                raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nCheck your …")
            if name == "text":
                return Config(num_labels=num_labels, text=True, num_channels=3)
            if name == "rigid":
                return Config(num_labels=num_labels)
            return Config(num_labels=num_labels, num_channels=3, broken=name.removeprefix("broken-"))

    class AutoModelForImageClassification:
        @staticmethod
        def from_config(config: Config) -> ViT:
            if hasattr(config, "text"):
                raise ValueError("Unrecognized configuration class <…> for this kind of AutoModel.\nModel type …")
            errors: Mapping[str, Exception] = {
                "import": ModuleNotFoundError("Could not import module 'ViTForImageClassification'."),
                "lazy": RuntimeError("Failed to import transformers.models.vit: operator torchvision::nms …"),
                "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
            }
            if (kind := getattr(config, "broken", "")) in errors:
                raise errors[kind]
            return ViT(config, "config")

        @staticmethod
        def from_pretrained(name: str, *, config: Config, ignore_mismatched_sizes: bool) -> ViT:
            return ViT(config, name, ignore_mismatched_sizes=ignore_mismatched_sizes)

    install(
        monkeypatch,
        "transformers",
        AutoConfig=AutoConfig,
        AutoModelForImageClassification=AutoModelForImageClassification,
    )


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, `my_nets`, in a folder that is on the path."""
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "SIZE = 3\n"
        "def plain(num_classes): return nn.Linear(4, num_classes)\n"
        "def told(num_classes, in_channels, pretrained=None):\n"
        "    net = nn.Conv2d(in_channels, num_classes, 1)\n"
        "    net.pretrained = pretrained\n"
        "    return net\n"
        "def anything(**settings): net = nn.Identity(); net.settings = settings; return net\n"
        "def other_name(classes): return nn.Linear(4, classes)\n"
        "def string(num_classes): return 'resnet'\n"
        "def fails(num_classes): return nn.Linear('four', num_classes)\n"
        "class Own(nn.Linear):\n"
        "    def __init__(self, num_classes): super().__init__(4, num_classes)\n"
    )
    (tmp_path / "needs_more.py").write_text("import a_package_that_does_not_exist\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("my_nets", "needs_more"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("spec", ["zoo:resnet8", "resnet8"])
def test_a_name_of_the_zoo_needs_no_scheme(spec: str) -> None:
    network = resolve(spec, num_classes=5, in_channels=1)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in ZOO["resnet8"](5, 1).parameters())


def test_the_settings_reach_timm(timm: None) -> None:
    network = resolve("timm:resnet50", num_classes=5, in_channels=2, pretrained=True)
    assert network.pretrained is True
    assert network(torch.zeros(3, 2, 4, 4)).shape == (3, 5)
    assert resolve("timm:resnet50", num_classes=5).pretrained is False


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_network_of_transformers_returns_its_logits(transformers: None, pretrained: bool) -> None:
    network = resolve("hf:some/vit", num_classes=5, pretrained=pretrained)
    assert isinstance(network, HuggingFaceClassifier)
    assert network(torch.ones(2, 3, 4, 4)).shape == (2, 5)
    assert network.model.source == ("some/vit" if pretrained else "config")
    assert network.model.options == ({"ignore_mismatched_sizes": True} if pretrained else {})


def test_a_network_of_transformers_can_be_tapped(transformers: None) -> None:
    network = resolve("hf:some/vit", num_classes=5)
    tap = find_embedding(network)
    taps = Taps(network, {"embedding": f"{tap.path}:{tap.side}"})
    network(torch.ones(2, 3, 4, 4))
    assert taps.take()["embedding"].shape == (2, 3)


def test_a_fresh_network_of_transformers_takes_the_channels_of_the_images(transformers: None) -> None:
    assert resolve("hf:some/vit", num_classes=5, in_channels=1)(torch.ones(2, 1, 4, 4)).shape == (2, 5)


@pytest.mark.parametrize("name", ["plain", "Own"])
def test_a_factory_of_the_user_may_be_a_function_or_a_class(mine: Path, name: str) -> None:
    assert resolve(f"python:my_nets:{name}", num_classes=5)(torch.zeros(2, 4)).shape == (2, 5)


def test_a_factory_of_the_user_is_told_what_its_signature_asks_for(mine: Path) -> None:
    told = resolve("python:my_nets:told", num_classes=5, in_channels=2, pretrained=True)
    assert (told.in_channels, told.out_channels, told.pretrained) == (2, 5, True)
    assert resolve("python:my_nets:anything", num_classes=5).settings == {
        "num_classes": 5,
        "in_channels": 3,
        "pretrained": False,
    }


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("resnet-20", "unknown zoo network 'resnet-20'; the nearest of 25: resnet20"),
        ("zoo:wrn_40_3", "unknown zoo network 'wrn_40_3'; the nearest of 25: wrn_40_"),
        ("zoo:", "unknown zoo network ''"),
        ("tim:resnet50", "unknown model scheme 'tim'; the nearest of 4: timm"),
        ("timm:resnet5", "unknown timm model 'resnet5'; the nearest of 3: resnet50"),
        ("python:my_nets:plan", "unknown my_nets factory 'plan'; the nearest of 7: plain"),
        ("python:my_nets:SIZE", "unknown my_nets factory 'SIZE'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(timm: None, mine: Path, spec: str, says: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve(spec, num_classes=5)
    assert str(caught.value).startswith(says)


def test_a_mistyped_model_is_answered_with_the_four_ways_to_write_one() -> None:
    for spec in ("resnet21", "tim:resnet50"):
        with pytest.raises(UnknownNameError, match=r"zoo:NAME, timm:NAME, hf:NAME_OR_PATH or python:MODULE:FACTORY"):
            resolve(spec, num_classes=5)


@pytest.mark.parametrize(
    ("spec", "pretrained", "says"),
    [
        ("resnet8", True, "the zoo has no pretrained weights"),
        ("timm:no_weights", True, "timm cannot build 'no_weights': No pretrained weights exist for no_weights"),
        ("timm:offline", True, "timm cannot build 'offline': cannot reach the hub$"),
        ("timm:tuple", False, "timm:tuple must return a torch.nn.Module, got tuple"),
        ("hf:nobody/nothing", False, "transformers cannot load 'nobody/nothing' .We couldn't connect to"),
        ("hf:text", False, "transformers cannot load 'text' .Unrecognized configuration class"),
        ("hf:broken-shape", False, "transformers cannot build 'broken-shape': mat1 and mat2"),
        ("python:my_nets", False, "a model of your own is python:MODULE:FACTORY, got 'python:my_nets'"),
        ("python:my_nets:", False, "a model of your own is python:MODULE:FACTORY"),
        ("python:my_netz:plain", False, "'my_netz' .* cannot be imported .No module named 'my_netz'.: .*PYTHONPATH"),
        ("python:needs_more:net", False, "No module named 'a_package_that_does_not_exist'"),
        ("python:my_nets:string", False, "python:my_nets:string must return a torch.nn.Module, got str"),
        ("python:my_nets:other_name", False, "called with num_classes=5 and raised TypeError: .*'num_classes'"),
        ("python:my_nets:fails", False, "called with num_classes=5 and raised TypeError"),
        ("python:my_nets:plain", True, "cannot be pretrained: its factory takes no argument `pretrained`"),
    ],
)
def test_what_cannot_be_built_is_a_config_error_that_says_why(
    timm: None, transformers: None, mine: Path, spec: str, pretrained: bool, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        resolve(spec, num_classes=5, pretrained=pretrained)


@pytest.mark.parametrize(("name", "pretrained"), [("rigid", False), ("some/vit", True)])
def test_channels_that_would_cost_the_weights_are_refused(transformers: None, name: str, pretrained: bool) -> None:
    with pytest.raises(ConfigError, match=f"^hf:{name} cannot take images of 1 channels.*made for 3"):
        resolve(f"hf:{name}", num_classes=5, in_channels=1, pretrained=pretrained)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (5, 0)])
def test_a_network_without_classes_or_channels_is_refused(classes: int, channels: int) -> None:
    with pytest.raises(ConfigError, match=f"got {classes} classes and {channels} channels"):
        resolve("resnet8", num_classes=classes, in_channels=channels)


BROKEN = [
    RuntimeError("operator torchvision::nms does not exist"),
    ModuleNotFoundError("No module named 'torchvision'"),
    OSError("libcudart.so.12: cannot open shared object file"),
]


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("spec", "package", "extra"), [("timm:a", "timm", "timm"), ("hf:a", "transformers", "hf")])
def test_a_package_that_breaks_at_import_is_a_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, package: str, extra: str, error: Exception
) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise {error!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(MissingExtraError) as caught:
        resolve(spec, num_classes=5)
    assert f"pip install 'tutelage[{extra}]' ({type(error).__name__}: {error})" in str(caught.value)


@pytest.mark.parametrize(("spec", "package"), [("timm:a", "timm"), ("hf:a", "transformers")])
def test_an_absent_package_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch, spec: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself reads as: this import fails
    with pytest.raises(MissingExtraError, match=f"import of {package} halted"):
        resolve(spec, num_classes=5)


@pytest.mark.parametrize("name", ["broken-import", "broken-lazy"])
def test_a_package_that_breaks_when_a_model_is_built_is_a_missing_extra(transformers: None, name: str) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'tutelage\[hf\]'"):
        resolve(f"hf:{name}", num_classes=5)


def test_the_zoo_needs_neither_timm_nor_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    fresh = runpy.run_path(str(sys.modules["tutelage.models.resolver"].__file__))
    assert isinstance(fresh["resolve"]("zoo:resnet8", num_classes=5), nn.Module)
