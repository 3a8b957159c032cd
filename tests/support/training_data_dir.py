"""The folder of real datasets that some tests need."""

import os
from pathlib import Path

import pytest

needs_data = pytest.mark.skipif("HEADWAY_DATA_DIR" not in os.environ, reason="needs the datasets of HEADWAY_DATA_DIR")


def data_dir() -> Path:
    """``$HEADWAY_DATA_DIR``; only for tests that are marked with ``needs_data``."""
    return Path(os.environ["HEADWAY_DATA_DIR"])
