"""Loads a version directory as TensorFlow Serving does: the SavedModel, then its warm-up requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headway_serving.modelserver.predict import PredictOptions
from headway_serving.modelserver.saved_model_runtime import (
    SavedModel,
    SessionConfig,
    load_saved_model,
    read_tfrecords,
)
from headway_serving.modelserver.warmup import warm_up


@dataclass(frozen=True)
class ModelLoader:
    """The `ServableLoader` of SavedModels; `warmup_iterations` 0 leaves warm-up out."""

    tags: frozenset[str]
    session: SessionConfig
    predict: PredictOptions
    warmup_iterations: int

    def load(self, directory: Path) -> SavedModel:
        """Return the version in `directory`, warmed up; raises StatusError if it cannot be served."""
        model = load_saved_model(directory, self.tags, self.session)
        try:
            if self.warmup_iterations:
                warm_up(model, directory, read_tfrecords, self.predict, iterations=self.warmup_iterations)
        except BaseException:
            model.close()
            raise
        return model
