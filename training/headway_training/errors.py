"""What can go wrong before or during training, each with the way out in its text.

::

    TrainingError
     ├── InvalidRecipe     the recipe cannot be what was meant; refused before anything is loaded
     └── ExportRefused     the exported model does not answer as the trained one did; nothing was published
"""


class TrainingError(Exception):
    """Base of everything training raises on purpose."""


class InvalidRecipe(TrainingError):
    """The recipe does not exist, has an unknown key, or describes an impossible run."""


class ExportRefused(TrainingError):
    """The SavedModel, loaded again, differs from the model that was trained; nothing was published."""
