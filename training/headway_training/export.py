"""A trained base and head -> a SavedModel that describes itself, checked by loading it again, then published.

Signatures: ``serving_default`` (images -> scores), ``features`` (images -> features), ``from_features`` (features ->
scores), ``manifest`` (request -> manifest JSON, once per row so that server-side batching cannot break it) and
``serving_bytes`` (encoded pictures -> scores, for TensorFlow Serving's REST clients; TensorFlow decodes and resizes
there, so its geometry is close to the contract's but not bit-equal).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_training.errors import ExportRefused
from headway_training.inference import BATCH

FEATURES_FILE = Path("assets.extra/features.keras")
"""A base's feature layers as a Keras archive, for the heads that will be trained on it; model servers ignore it."""

TOLERANCE = 1e-5
"""Largest difference allowed between a score of the trained model and of the SavedModel loaded again."""

_WARM_UP_BATCHES = (1, 8, 32)


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
    base: Any,
    head: Any,
    *,
    images: NDArray[np.uint8],
    scores: NDArray[np.float32],
) -> int:
    """Write, reload, compare and publish one version; return its number.

    ``images`` (``uint8[N, H, W, C]``) and ``scores`` (``float32[N, K]``) are the whole test split and what the trained
    model answers to it. Raises :class:`ExportRefused` when the SavedModel answers otherwise; then, as after a kill at
    any moment, nothing is published.
    """
    with repository.staging(manifest.model) as directory:
        _write_saved_model(directory, manifest, base, head)
        (directory / "assets.extra").mkdir(exist_ok=True)
        (directory / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        _write_warm_up(directory, manifest.model, images)
        if manifest.kind == "base":
            base.save(directory / FEATURES_FILE)
        _reload_and_compare(directory, manifest, images, scores)
        return repository.publish(manifest.model, directory)


def _write_saved_model(directory: Path, manifest: ModelManifest, base: Any, head: Any) -> None:
    servable = tf.Module()
    # TensorFlow Serving restores only variables that the object graph names: Keras 3 models hide theirs from it.
    servable.weights = [variable.value for model in (base, head) for variable in model.variables]
    signatures = _signatures(manifest, base, head)
    servable.endpoints = signatures
    tf.saved_model.save(servable, str(directory), signatures=signatures)


def _signatures(manifest: ModelManifest, base: Any, head: Any) -> Mapping[str, Any]:
    spec, text = manifest.image, tf.constant(manifest.to_json())
    images = tf.TensorSpec((None, *spec.shape), tf.uint8, name="images")
    features = tf.TensorSpec((None, *base.output_shape[1:]), tf.float32, name="features")

    def score(images: Any) -> Any:
        return head(base(images, training=False), training=False)

    def decode(data: Any) -> Any:
        picture = tf.io.decode_image(data, channels=spec.channels, expand_animations=False)
        return tf.cast(tf.round(tf.image.resize(picture, (spec.height, spec.width), antialias=True)), tf.uint8)

    def from_bytes(image_bytes: Any) -> Any:
        decoded = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(spec.shape, tf.uint8))
        return {"scores": score(decoded)}

    def signature(body: Any, *inputs: Any) -> Any:
        return tf.function(body, input_signature=inputs, autograph=False).get_concrete_function()

    text_input = (None,)
    return {
        "serving_default": signature(lambda images: {"scores": score(images)}, images),
        "features": signature(lambda images: {"features": base(images, training=False)}, images),
        "from_features": signature(lambda features: {"scores": head(features, training=False)}, features),
        "manifest": signature(
            lambda request: {"manifest": tf.fill(tf.shape(request), text)},
            tf.TensorSpec(text_input, tf.string, name="request"),
        ),
        "serving_bytes": signature(from_bytes, tf.TensorSpec(text_input, tf.string, name="image_bytes")),
    }


def _write_warm_up(directory: Path, model: str, images: NDArray[np.uint8]) -> None:
    """Requests that a model server runs before it calls the version available, so that no user pays for first calls."""
    requests = []
    for size in _WARM_UP_BATCHES:
        request = _request(model, "serving_default")
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.resize(images, (size, *images.shape[1:]))))
        requests.append(request)
    request = _request(model, "manifest")
    request.inputs["request"].CopyFrom(tf.make_tensor_proto([b""]))
    requests.append(request)
    with tf.io.TFRecordWriter(str(directory / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _request(model: str, signature: str) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    return request


def _reload_and_compare(
    directory: Path, manifest: ModelManifest, images: NDArray[np.uint8], scores: NDArray[np.float32]
) -> None:
    """Load the version as TensorFlow Serving does and ask it for the whole test split and its own manifest.

    A TF1 session is what the server uses; the TF2 loader also accepts models that the server cannot run.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(directory))

        def run(name: str, values: Any) -> Any:
            signature = graph.signature_def[name]
            (fed,), (fetched,) = signature.inputs.values(), signature.outputs.values()
            return session.run(fetched.name, {fed.name: values})

        batches = range(0, len(images), BATCH)
        reloaded = np.concatenate([run("serving_default", images[i : i + BATCH]) for i in batches])
        halves = np.concatenate([run("from_features", run("features", images[i : i + BATCH])) for i in batches])
        text = run("manifest", [b""])[0].decode("utf-8")
    for name, answers in (("serving_default", reloaded), ("features + from_features", halves)):
        difference = float(np.abs(answers - scores).max())
        # Written so that NaN is refused too.
        if not difference <= TOLERANCE:
            raise ExportRefused(
                f"{manifest.model}: signature {name} of the exported model differs from the trained model by "
                f"{difference:.2g} on {len(images)} test pictures (allowed: {TOLERANCE:.0e}); nothing was published"
            )
    if text != manifest.to_json():
        raise ExportRefused(
            f"{manifest.model}: the exported manifest differs from the one written; nothing was published"
        )
