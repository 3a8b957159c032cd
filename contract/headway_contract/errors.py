"""What can be wrong with a picture, a manifest or a repository.

::

    ContractError
     ├── InvalidImage              the bytes are not a picture that can be read
     │    ├── UnsupportedImage     not a format that is accepted
     │    └── ImageTooLarge        more bytes or pixels than the limits allow
     ├── InvalidManifest           a manifest, or the ImageSpec in it, that does not hold what it must
     ├── InvalidTestPictures       a version's stored test pictures cannot be read, or are more than allowed
     └── RepositoryError           a path, name or version that a repository cannot hold
          ├── ModelMissing         no such model, or it has no version
          ├── VersionMissing       the model is there, the version is not
          ├── VersionExists        a published version never changes
          ├── VersionDamaged       files differ from the checksums they were published with
          └── BaseDiffers          a head's base is not the one that it was trained on
"""


class ContractError(Exception):
    """Base of everything this package raises on purpose; its text says what, where and what to do."""


class InvalidImage(ContractError):
    """The bytes are not a picture that can be read."""


class UnsupportedImage(InvalidImage):
    """The bytes are in no picture format that is accepted."""


class ImageTooLarge(InvalidImage):
    """The picture has more bytes or pixels than the limits allow."""


class InvalidManifest(ContractError):
    """A manifest does not hold what it must, or holds what this release does not know."""


class InvalidTestPictures(ContractError):
    """A version's stored test pictures are not what an export writes."""


class RepositoryError(ContractError):
    """A path, name or version that a repository cannot hold or does not have."""


class ModelMissing(RepositoryError):
    """The repository has no such model, or the model has no version."""


class VersionMissing(RepositoryError):
    """The model is in the repository, the version is not."""


class VersionExists(RepositoryError):
    """The version is published already; a published version never changes."""


class VersionDamaged(RepositoryError):
    """The files of a version differ from the checksums they were published with."""


class BaseDiffers(RepositoryError):
    """The base in the repository is not the one that the head was trained on."""
