"""The verbs of the `headway` command that need this package."""
