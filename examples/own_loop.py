"""Your own loop: losses of tutelage alone, with your networks, your data and your optimiser.

    python examples/own_loop.py

A loss takes the student first and the teacher second, detaches the teacher itself, and gives one value per sample.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tutelage.losses import kd, rkd_angle, rkd_distance


class Perceptron(nn.Module):
    """Two layers and a classifier; it returns logits and the features before them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, 10) and features (n, width)."""
        features = self.body(x)
        return self.head(features), features


def train(network: Perceptron, images: Tensor, labels: Tensor, teacher: Perceptron | None = None) -> Perceptron:
    """By labels, or by labels and a teacher."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(30):
        for rows in torch.randperm(len(images)).split(64):
            logits, features = network(images[rows])
            loss = F.cross_entropy(logits, labels[rows])
            if teacher is not None:
                with torch.no_grad():
                    answers, relations = teacher(images[rows])
                loss = 0.1 * loss + 0.9 * kd(logits, answers, temperature=4.0).mean()
                # The widths differ, and need no adapter: what is compared is how the samples of the batch relate.
                loss = loss + rkd_distance(features, relations).mean() + 2 * rkd_angle(features, relations).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def main() -> None:
    """A teacher of 16,522 weights, and a student of 682 without and with it."""
    pixels, classes = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(pixels).float() / 16, torch.from_numpy(classes)
    training, test = (images[:1348], labels[:1348]), (images[1348:], labels[1348:])
    torch.manual_seed(0)
    teacher = train(Perceptron(96), *training)
    networks = {"teacher": teacher}
    for name, taught_by in (("student alone", None), ("student taught", teacher)):
        torch.manual_seed(1)
        networks[name] = train(Perceptron(8), *training, taught_by)
    for name, network in networks.items():
        right = (network(test[0])[0].argmax(1) == test[1]).float().mean().item()
        print(f"{name}: {right:.1%} of {len(test[1])} test images")


if __name__ == "__main__":
    main()
