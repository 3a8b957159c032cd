"""Publishes altered copies of a version: whole by their checksums, and wrong inside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from headway_contract.model_manifest import ModelManifest
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_contract.preprocessing import DecodeLimits, decode_image, to_model_input

Change = Callable[[Path], object]


def publish_changed(repository: ModelRepository, model: str, change: Change = lambda _: None) -> int:
    """Publish a copy of version 1 that ``change`` was made to; its checksums are right for what it has become."""
    with repository.staging(model) as staged:
        shutil.copytree(repository.path(model, 1), staged, dirs_exist_ok=True)
        change(staged)
        return repository.publish(model, staged)


def weights_of(other: Path) -> Change:
    """The weights of another version of the same network."""

    def swap(version: Path) -> None:
        shutil.rmtree(version / "variables")
        shutil.copytree(other / "variables", version / "variables")

    return swap


def without_variables(version: Path) -> None:
    shutil.rmtree(version / "variables")


def with_manifest(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Another manifest, in the file and in the graph alike."""

    def change(version: Path) -> None:
        before = (version / MANIFEST_FILE).read_text(encoding="utf-8")
        document = json.loads(before)
        edit(document)
        after = json.dumps(document, sort_keys=True, ensure_ascii=False)
        (version / MANIFEST_FILE).write_text(after, encoding="utf-8")
        graph = version / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
        replaced = 0
        for meta in model.meta_graphs:
            nodes = [
                *meta.graph_def.node,
                *(node for each in meta.graph_def.library.function for node in each.node_def),
            ]
            for node in nodes:
                texts = node.attr["value"].tensor.string_val if "value" in node.attr else []
                for index, text in enumerate(texts):
                    if text == before.encode():
                        texts[index] = after.encode()
                        replaced += 1
        assert replaced, "the graph holds the manifest"
        graph.write_bytes(model.SerializeToString())

    return change


def never_answering(label: str) -> Change:
    """A head that has unlearned one class, exported as honestly as any: its golden samples are its own answers."""

    def unlearn(labels: tuple[str, ...], layer: list[Any]) -> None:
        layer[0][labels.index(label)] = -1000.0

    return _with_last_layer(unlearn, lambda _: None)


def classes_swapped(first: str, second: str, accuracy: float | None = None) -> Change:
    """A head that answers one class where it means another; its golden samples are its own answers.

    ``accuracy``: what its manifest says it has on its test pictures; None: still what the original has.
    """

    def swap(labels: tuple[str, ...], layer: list[Any]) -> None:
        one, other = labels.index(first), labels.index(second)
        for values in layer:
            values[..., [one, other]] = values[..., [other, one]]

    def tell(document: dict[str, Any]) -> None:
        if accuracy is not None:
            document["test_accuracy"] |= {"value": accuracy, "low": accuracy - 0.04, "high": accuracy + 0.04}

    return _with_last_layer(swap, tell)


def _with_last_layer(
    change: Callable[[tuple[str, ...], list[Any]], None], edit: Callable[[dict[str, Any]], object]
) -> Change:
    """``change`` gets the labels, and bias and kernel of the last layer, to be changed in place."""

    def changed(version: Path) -> None:
        manifest = ModelManifest.from_json((version / MANIFEST_FILE).read_text(encoding="utf-8"))
        prefix = str(version / "variables" / "variables")
        reader = tf.train.load_checkpoint(prefix)
        weights = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        last = [value for value in weights.values() if np.shape(value)[-1:] == (len(manifest.labels),)]
        layer = sorted(last, key=np.ndim)
        assert [np.ndim(value) for value in layer] == [1, 2]
        change(manifest.labels, layer)
        shutil.rmtree(version / "variables")
        (version / "variables").mkdir()
        tf.raw_ops.SaveV2(
            prefix=prefix, tensor_names=list(weights), shape_and_slices=[""] * len(weights), tensors=[*weights.values()]
        )

        def describe(document: dict[str, Any]) -> None:
            _answer_golden_samples(version, manifest, document)
            edit(document)

        with_manifest(describe)(version)

    return changed


def _answer_golden_samples(version: Path, manifest: ModelManifest, document: dict[str, Any]) -> None:
    pictures = [decode_image(sample.image, DecodeLimits(), manifest.image) for sample in manifest.golden]
    pixels = np.stack([to_model_input(picture, manifest.image) for picture in pictures])
    scores = tf.saved_model.load(str(version)).signatures["serving_default"](images=tf.constant(pixels))["scores"]
    for sample, row in zip(document["golden"], scores.numpy(), strict=True):
        sample["scores"] = [float(score) for score in row]


def nearest_filter(document: dict[str, Any]) -> None:
    document["image"]["resample"] = "nearest"


def two_labels_swapped(document: dict[str, Any]) -> None:
    labels = document["labels"]
    labels[0], labels[1] = labels[1], labels[0]


def standing_on(version: int) -> Callable[[dict[str, Any]], object]:
    """Another version of the base, of the same content."""
    return lambda document: document["base"].update(version=version)
