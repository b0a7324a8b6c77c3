"""Recipes: functions that return complete, frozen runs."""

from tutelage.recipes.curve import curve_runs
from tutelage.recipes.demo import demo_students, demo_teacher
from tutelage.recipes.standard import RECIPES, ckd, crd, digits, imagenet, recipe_for, short
from tutelage.recipes.variants import ALONE, Variant

__all__ = [
    "ALONE",
    "RECIPES",
    "Variant",
    "ckd",
    "crd",
    "curve_runs",
    "demo_students",
    "demo_teacher",
    "digits",
    "imagenet",
    "recipe_for",
    "short",
]
