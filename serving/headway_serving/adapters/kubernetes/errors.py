"""What can be wrong with the Kubernetes API. All are OSErrors: what is tried again for a file is tried again here."""


class KubernetesError(OSError):
    """The API refuses, or cannot be reached; the text says what was asked and what was answered."""


class Unreachable(KubernetesError):
    """There was no answer, or one of a server in trouble: whether a change was made is not known."""


class Forbidden(KubernetesError):
    """There is no permission; the text names the rule that lacks."""


class Conflict(KubernetesError):
    """The object was changed since it was read."""


class Gone(KubernetesError):
    """The resource version is too old to be watched from: list again."""


class InvalidKubernetes(Exception):
    """A name or a configuration cannot be used; the text says what is wrong, where, and what to do."""
