"""A Hugging Face vision transformer, made from a config and without a download, as the student of a small CNN.

    pip install "tutelage[hf]"
    python examples/transformer.py

As a teacher it is named in the same way, once it is stored: TeacherConfig(weights=RUN, taps={...}). A model of the hub
needs no function: hf:NAME, with pretrained=True for its weights.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from torch import nn

from tutelage.engine import OptimizerConfig, StageConfig, StudentConfig, TeacherConfig, start
from tutelage.methods import KDConfig, RKDConfig
from tutelage.models import load_network
from tutelage.models.resolver import HuggingFaceClassifier
from tutelage.recipes import digits, with_method


def small_vit(num_classes: int, in_channels: int) -> nn.Module:
    """Two layers over 16 patches of 2 × 2 pixels; the wrapper returns the logits alone."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=in_channels,
        num_labels=num_classes,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    return HuggingFaceClassifier(ViTForImageClassification(config))


def main() -> None:
    """By labels alone, and by KD and the relations between feature maps and tokens."""
    out = Path(tempfile.mkdtemp())
    base = replace(digits(), stages=(StageConfig(epochs=15, optimizer=OptimizerConfig(lr=0.1)),))
    start(replace(base, student=StudentConfig(model="zoo:digits_large")), out / "teacher")
    # A role may have any name: here "map" is a module path of each network, (64, 4, 4) and (17 tokens, 32).
    student = StudentConfig(model="python:transformer:small_vit", taps={"map": "model.vit.layernorm"})
    teacher = TeacherConfig(weights=str(out / "teacher"), taps={"map": "stage2"})
    adamw = StageConfig(epochs=30, optimizer=OptimizerConfig(name="adamw", lr=0.01, weight_decay=0.05))
    base = replace(base, student=student, stages=(adamw,))
    for name, method in {"alone": None, "taught": KDConfig() + RKDConfig(role="map")}.items():
        result = start(with_method(base, method, teacher), out / name)
        print(f"{name}: {result['accuracy']['last']['test']:.1%} by {result['method']}")
    network = load_network(out / "taught")
    print(f"{network.num_parameters:,} weights, roles {dict(network.shapes)}")
    print(f"everything is in {out}: tutelage report {out}")


if __name__ == "__main__":
    main()
