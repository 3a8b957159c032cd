"""A trained base and head -> a SavedModel that describes itself, checked by loading it again, then published.

Signatures: ``serving_default`` (images -> scores, familiarity), ``features`` (images -> features), ``from_features``
(features -> scores, familiarity), ``manifest`` (request -> manifest JSON, once per row so that server-side batching
cannot break it) and ``serving_bytes`` (encoded pictures -> scores, for TensorFlow Serving's REST clients; TensorFlow
decodes and resizes there, so its geometry is close to the contract's but not bit-equal). The manifest's form decides
which of them are there: a backbone has ``features``, a head on a base ``from_features``, a standalone version all.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_contract.plain_paths import plain_path
from headway_contract.preprocessing import ImageSpec
from headway_training.errors import ExportRefused
from headway_training.familiarity import OUTPUT, Familiarity
from headway_training.head import logits_of as logits_function
from headway_training.inference import Inputs, batch_rows, batches, take
from headway_training.write_failures import writing

FEATURES_FILE = Path("assets.extra/features.keras")
"""A base's feature layers as a Keras archive, for the heads that will be trained on it; model servers ignore it."""

CLASSIFIER_FILE = Path("assets.extra/classifier.keras")
"""The classifier that a base was trained with, for heads that start from it (``head.start = "base"``)."""

TOLERANCE = 1e-5
"""Largest difference allowed between a score of the trained model and of the SavedModel loaded again."""

_WARM_UP_BATCHES = (1, 8, 32)
_SOME = 32  # pictures that `features` is compared on; `serving_default` and `from_features` are on all


@dataclass(frozen=True)
class Expected:
    """What a version must answer. ``pictures``: the whole test split; ``features``: ``float32[N, D]`` of its pictures;
    ``scores``: ``float32[N, K]``, what the trained model answers (a backbone has none); ``familiarity``:
    ``float32[N]``, if it answers that too.
    """

    pictures: Inputs
    features: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    familiarity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Parts:
    """What a version's graph is made of; a backbone has no ``head``, and not every version a ``familiarity``."""

    base: Any
    head: Any | None = None
    familiarity: Familiarity | None = None


def weights_digest(*models: Any) -> str:
    """SHA-256 over the shapes and values of all weights, in the models' own order."""
    digest = hashlib.sha256()
    for model in models:
        for weight in model.get_weights():
            digest.update(f"{weight.dtype}{weight.shape}".encode())
            digest.update(np.ascontiguousarray(weight).data)
    return "sha256:" + digest.hexdigest()


def export_version(
    repository: ModelRepository,
    manifest: ModelManifest,
    parts: Parts,
    expected: Expected,
    write_extra: Callable[[Path], None] | None = None,
) -> int:
    """Write, reload, compare and publish one version; return its number.

    ``write_extra`` puts more files into the version's directory. Raises :class:`ExportRefused` when the SavedModel
    answers otherwise than ``expected``, :class:`WriteFailed`, and what publishing raises; then, as after a kill at any
    moment, nothing is published.
    """
    title = f"{manifest.model}: nothing was published in {repository.root}"
    with repository.staging(manifest.model) as staged:
        # TensorFlow would take brackets in a repository's name for a pattern, and not find what it has written.
        with plain_path(staged) as directory:
            with writing(title, directory):
                _write_version(directory, manifest, parts, write_extra)
            _reload_and_compare(directory, manifest, expected, repository)
        with writing(title, staged):
            return repository.publish(manifest.model, staged)


def _write_version(
    directory: Path, manifest: ModelManifest, parts: Parts, write_extra: Callable[[Path], None] | None
) -> None:
    base, head = parts.base, parts.head
    _write_saved_model(directory, manifest, parts)
    (directory / "assets.extra").mkdir(exist_ok=True)
    (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    if write_extra is not None:
        write_extra(directory)
    _write_warm_up(directory, manifest, base)
    if manifest.kind == "base":
        base.save(directory / FEATURES_FILE)
        if head is not None:
            head.save(directory / CLASSIFIER_FILE)


def _write_saved_model(directory: Path, manifest: ModelManifest, parts: Parts) -> None:
    servable = tf.Module()
    base, head = parts.base, parts.head
    models = {"standalone": (base, head), "features": (base,), "on_base": (head,)}[manifest.form]
    means = None if parts.familiarity is None else tf.Variable(parts.familiarity.means, trainable=False)
    # TensorFlow Serving restores only variables that the object graph names: Keras 3 models hide theirs from it.
    servable.weights = [variable.value for model in models for variable in model.variables]
    servable.class_means = [] if means is None else [means]
    signatures = _signatures(manifest, parts, means)
    servable.endpoints = signatures
    tf.saved_model.save(servable, str(directory), signatures=signatures)


def _signatures(manifest: ModelManifest, parts: Parts, means: Any) -> Mapping[str, Any]:
    base, head, familiarity = parts.base, parts.head, parts.familiarity
    text = tf.constant(manifest.to_json())
    images = tf.TensorSpec((None, *manifest.image.shape), tf.uint8, name="images")
    features = tf.TensorSpec((None, base.output_shape[-1]), tf.float32, name="features")
    decode = _decoder(manifest.image)

    # Traced once: three signatures begin with the base.
    features_of = tf.function(
        lambda images: base(images, training=False), input_signature=[images], autograph=False
    ).get_concrete_function()

    def scores_of(features: Any) -> Any:
        assert head is not None
        return head(features, training=False)

    logits_of = None if head is None or familiarity is None else logits_function(head)

    def answers(features: Any) -> Any:
        found = {"scores": scores_of(features)}
        if familiarity is not None and logits_of is not None:
            found[OUTPUT] = familiarity.of(features, logits_of(features), means)
        return found

    def from_bytes(image_bytes: Any) -> Any:
        decoded = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(manifest.image.shape, tf.uint8))
        return {"scores": scores_of(features_of(decoded))}

    def signature(body: Any, *inputs: Any) -> Any:
        return tf.function(body, input_signature=inputs, autograph=False).get_concrete_function()

    chosen = {
        "manifest": signature(
            lambda request: {"manifest": tf.fill(tf.shape(request), text)},
            tf.TensorSpec((None,), tf.string, name="request"),
        )
    }
    if manifest.form != "on_base":
        chosen["features"] = signature(lambda images: {"features": features_of(images)}, images)
    if manifest.form != "features":
        chosen["from_features"] = signature(answers, features)
    if manifest.form == "standalone":
        chosen["serving_default"] = signature(lambda images: answers(features_of(images)), images)
        chosen["serving_bytes"] = signature(from_bytes, tf.TensorSpec((None,), tf.string, name="image_bytes"))
    return chosen


def _decoder(spec: ImageSpec) -> Callable[[Any], Any]:
    """TensorFlow's nearest likeness of the contract's geometry, without polarity: encoded picture -> uint8[H, W, C]."""
    method = {"lanczos": "lanczos3"}.get(spec.resample, spec.resample)

    def central(picture: Any) -> Any:
        """The largest central part that has the aspect ratio of the model's input."""
        shape = tf.shape(picture)
        height = tf.minimum(shape[0], tf.maximum(1, shape[1] * spec.height // spec.width))
        width = tf.minimum(shape[1], tf.maximum(1, shape[0] * spec.width // spec.height))
        return tf.image.crop_to_bounding_box(picture, (shape[0] - height) // 2, (shape[1] - width) // 2, height, width)

    def decode(encoded: Any) -> Any:
        picture = tf.io.decode_image(encoded, channels=spec.channels, expand_animations=False)
        size = spec.height, spec.width
        if spec.fit == "pad":
            resized = tf.image.resize_with_pad(picture, *size, method=method, antialias=True)
        else:
            picture = central(picture) if spec.fit == "crop" else picture
            resized = tf.image.resize(picture, size, method=method, antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(tf.cast(resized, tf.float32)), 0, 255), tf.uint8)

    return decode


def _write_warm_up(directory: Path, manifest: ModelManifest, base: Any) -> None:
    """Requests that a model server runs before it calls the version available, so that no user pays for first calls."""
    name, key, shape, dtype = {
        "standalone": ("serving_default", "images", manifest.image.shape, np.uint8),
        "features": ("features", "images", manifest.image.shape, np.uint8),
        "on_base": ("from_features", "features", (base.output_shape[-1],), np.float32),
    }[manifest.form]
    # One value stands for the whole tensor: a batch of photos of zeros takes a few bytes.
    inputs = [tf.make_tensor_proto(0, dtype=dtype, shape=(size, *shape)) for size in _WARM_UP_BATCHES]
    requests = [_request(manifest.model, name, key, tensor) for tensor in inputs]
    requests.append(_request(manifest.model, "manifest", "request", tf.make_tensor_proto([b""])))
    with tf.io.TFRecordWriter(str(directory / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _request(model: str, signature: str, key: str, tensor: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.inputs[key].CopyFrom(tensor)
    return request


Run = Callable[[str, Any], Mapping[str, Any]]
"""Runs a signature, by name, on the values of its one input and returns its outputs."""


@contextlib.contextmanager
def _reloaded(directory: Path) -> Iterator[Run]:
    """Load a version as TensorFlow Serving does.

    A TF1 session is what the server uses; the TF2 loader also accepts models that the server cannot run.
    """
    graph = tf.Graph()
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session:
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(directory))

        def run(name: str, values: Any) -> Mapping[str, Any]:
            signature = loaded.signature_def[name]
            (fed,) = signature.inputs.values()
            found: Mapping[str, Any] = session.run(
                {key: tensor.name for key, tensor in signature.outputs.items()}, {fed.name: values}
            )
            return found

        yield run


def _reload_and_compare(
    directory: Path, manifest: ModelManifest, expected: Expected, repository: ModelRepository
) -> None:
    """Load what was written again, and ask it for its own manifest and for the whole test split.

    Every picture goes all the way to its scores: a head on a base is asked behind the base as it is published.
    """
    with _reloaded(directory) as run:

        def check(name: str, inputs: Inputs, wanted: Mapping[str, Any], before: Run | None = None) -> None:
            shape = inputs.shape[1:] if isinstance(inputs, np.ndarray) else manifest.image.shape
            rows = batches(inputs, batch_rows(shape))
            answers = [run(name, before("features", batch)["features"] if before else batch) for batch in rows]
            for output, values in wanted.items():
                if values is not None:
                    _compare(manifest, name, np.concatenate([answer[output] for answer in answers]), values)

        if run("manifest", [b""])["manifest"][0].decode("utf-8") != manifest.to_json():
            raise ExportRefused(
                f"{manifest.model}: the exported manifest differs from the one written; nothing was published"
            )
        answers = {"scores": expected.scores, OUTPUT: expected.familiarity}
        if manifest.form == "standalone":
            check("serving_default", expected.pictures, answers)
        if manifest.form == "on_base":
            assert manifest.base is not None  # the manifest is checked for it
            path = repository.path(manifest.base.model, manifest.base.version)
            with plain_path(path) as plain, _reloaded(plain) as base:
                check("from_features", expected.pictures, answers, base)
        if manifest.form != "on_base":
            some = np.arange(min(_SOME, len(expected.features)))
            check("features", take(expected.pictures, some), {"features": expected.features[some]})
        if manifest.form != "features":
            check("from_features", expected.features, answers)


def _compare(
    manifest: ModelManifest, signature: str, answers: NDArray[np.float32], wanted: NDArray[np.float32]
) -> None:
    # Scores lie in 0..1; features have no bound, so theirs is taken as a share of the largest.
    scale = max(1.0, float(np.abs(wanted).max()))
    difference = float(np.abs(answers - wanted).max()) / scale
    # Written so that NaN is refused too.
    if not difference <= TOLERANCE:
        raise ExportRefused(
            f"{manifest.model}: signature {signature} of the exported model differs from the trained model by "
            f"{difference:.2g} on {len(wanted)} pictures (allowed: {TOLERANCE:.0e}); nothing was published"
        )
