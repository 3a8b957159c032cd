"""What can go wrong before or during training, each with the way out in its text.

::

    TrainingError
     ├── InvalidRecipe     the recipe cannot be what was meant; refused before anything is loaded
     ├── DataMissing       the pictures that a recipe names are not where they were looked for
     ├── BadPictures       files of a folder cannot be read as pictures
     ├── InvalidWeights    a weights file cannot be read or does not fit the network
     ├── InvalidCheckpoint a file to continue from cannot be read or belongs to another run
     ├── WriteFailed       a file cannot be written: a full disk, a limit, a place that is read-only
     └── ExportRefused     the exported model does not answer as the trained one did; nothing was published
"""


class TrainingError(Exception):
    """Base of everything training raises on purpose."""


class InvalidRecipe(TrainingError):
    """The recipe does not exist, has an unknown key, or describes an impossible run."""


class DataMissing(TrainingError):
    """The data set or folder that a recipe names is not where it was looked for, or is something else."""


class BadPictures(TrainingError):
    """Files of a folder have a picture's suffix and cannot be read as pictures."""


class InvalidWeights(TrainingError):
    """A weights file cannot be read or does not fit the network."""


class InvalidCheckpoint(TrainingError):
    """A checkpoint cannot be written under that name, cannot be read, or belongs to another run."""


class WriteFailed(TrainingError):
    """A version or a checkpoint cannot be written; what was there before stays."""


class ExportRefused(TrainingError):
    """The SavedModel, loaded again, differs from the model that was trained; nothing was published."""
