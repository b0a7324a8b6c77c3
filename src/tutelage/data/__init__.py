"""Data sets with permanent sample ids, repeatable views, samplers and the loader."""

from tutelage.data.counter import uniform_bits, uniform_integers, uniform_unit
from tutelage.data.crops import RandomResizedCrop
from tutelage.data.dataset import Dataset, open_dataset
from tutelage.data.groups import GroupSampler
from tutelage.data.loader import Loader, evaluation_batches
from tutelage.data.mixing import Mixing, Mixture
from tutelage.data.samplers import BalancedSampler, Sampler, UniformSampler
from tutelage.data.splits import stratified_split
from tutelage.data.store import ImageStore
from tutelage.data.views import CropFlip, Plain, Views

__all__ = [
    "BalancedSampler",
    "CropFlip",
    "Dataset",
    "GroupSampler",
    "ImageStore",
    "Loader",
    "Mixing",
    "Mixture",
    "Plain",
    "RandomResizedCrop",
    "Sampler",
    "UniformSampler",
    "Views",
    "evaluation_batches",
    "open_dataset",
    "stratified_split",
    "uniform_bits",
    "uniform_integers",
    "uniform_unit",
]
