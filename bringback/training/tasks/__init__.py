"""One task per stage, found by its name in a config."""

import importlib

from bringback.degradations import RECIPES
from bringback.errors import ConfigError
from bringback.models.registry import MODELS
from bringback.training.config import TrainConfig, check_recipe
from bringback.training.task import TrainingTask

_TASKS = {name: model.task for name, model in MODELS.items()} | {"translation": "translation:TranslationTask"}


def build_task(config: TrainConfig) -> TrainingTask:
    """The task that a config names; raises ConfigError for an unknown task, recipe or option."""
    if config.task not in _TASKS:
        raise ConfigError(f"task {config.task!r}: there are {', '.join(_TASKS)}")
    for recipe in (config.recipe, *(source.recipe for source in config.train_data if source.recipe)):
        check_recipe(recipe, RECIPES)
    if any(source.recipe for source in config.validation_data):
        raise ConfigError("validation_data: tasks validate with recipes of their own, a source has none")
    module, name = _TASKS[config.task].split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)(config)
