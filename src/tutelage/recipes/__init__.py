"""Recipes: functions that return complete, frozen runs."""

from tutelage.recipes.compare import Pair, compare_runs, paired_up
from tutelage.recipes.curve import curve_runs
from tutelage.recipes.demo import DEMO_METHODS, demo_answers, demo_students, demo_teachers
from tutelage.recipes.methods import with_method
from tutelage.recipes.standard import RECIPES, ckd, crd, digits, imagenet, recipe_for, short
from tutelage.recipes.variants import ALONE, Variant

__all__ = [
    "ALONE",
    "DEMO_METHODS",
    "RECIPES",
    "Pair",
    "Variant",
    "ckd",
    "compare_runs",
    "crd",
    "curve_runs",
    "demo_answers",
    "demo_students",
    "demo_teachers",
    "digits",
    "imagenet",
    "paired_up",
    "recipe_for",
    "short",
    "with_method",
]
