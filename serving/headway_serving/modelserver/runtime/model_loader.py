"""Loads a version directory as TensorFlow Serving does: the SavedModel, then its warm-up requests."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from headway_contract.model_manifest import BFLOAT16
from headway_serving.modelserver.apis.predict import PredictOptions
from headway_serving.modelserver.batching.batched_model import Batching, LoadedModel
from headway_serving.modelserver.metrics import ServerMetrics
from headway_serving.modelserver.runtime.mixed_precision import MixedPrecision
from headway_serving.modelserver.runtime.saved_model import SessionConfig, read_tfrecords
from headway_serving.modelserver.runtime.saved_model_loader import load_saved_model
from headway_serving.modelserver.runtime.tflite import TfliteRuntime
from headway_serving.modelserver.runtime.warmup import warm_up

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelLoader:
    """The ``ServableLoader`` of SavedModels, and of TFLite models with ``tflite``, which go first.

    ``warmup_iterations`` 0 leaves warm-up out. ``mixed_precision`` says which versions are computed in bfloat16.
    """

    tags: frozenset[str]
    session: SessionConfig
    mixed_precision: MixedPrecision
    predict: PredictOptions
    warmup_iterations: int
    batching: Batching | None = None
    tflite: TfliteRuntime | None = None
    metrics: ServerMetrics = field(default_factory=ServerMetrics)

    def load(self, directory: Path) -> LoadedModel:
        """Return the version in ``directory``, warmed up; raises StatusError if it cannot be served."""
        model: LoadedModel = self._load_counted(directory)
        try:
            if self.batching is not None:
                model = self.batching.wrap(model, directory)
            if self.warmup_iterations:
                warm_up(model, directory, read_tfrecords, self.predict, self.metrics, iterations=self.warmup_iterations)
        except BaseException:
            model.close()
            raise
        return model

    def _load_counted(self, directory: Path) -> LoadedModel:
        started = time.perf_counter()
        status = "fail"
        try:
            model = self._load_runnable(directory)
            status = "success"
            microseconds = round((time.perf_counter() - started) * 1e6)
            self.metrics.load_latency.increment(str(directory), by=microseconds)
        finally:
            self.metrics.load_attempts.increment(str(directory), status)
        return model

    def _load_runnable(self, directory: Path) -> LoadedModel:
        lite = self.tflite.load(directory) if self.tflite is not None else None
        if lite is not None:
            return lite
        bfloat16 = self.mixed_precision.applies(directory)
        model = load_saved_model(directory, self.tags, replace(self.session, bfloat16=bfloat16))
        precision = BFLOAT16 if bfloat16 else "float32"
        self.metrics.loads_by_precision.increment(str(directory), precision)
        logger.info("%s is computed in %s", directory, precision)
        return model
