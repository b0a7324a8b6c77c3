"""Recipes: functions that return complete, frozen runs."""

from tutelage.recipes.demo import demo_students, demo_teacher
from tutelage.recipes.standard import RECIPES, crd, digits, imagenet, recipe_for, short

__all__ = ["RECIPES", "crd", "demo_students", "demo_teacher", "digits", "imagenet", "recipe_for", "short"]
