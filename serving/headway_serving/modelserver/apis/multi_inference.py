"""MultiInference: several signatures of one version that read the same examples, in one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorflow_serving.apis import inference_pb2

from headway_serving.modelserver.apis import classify, regress
from headway_serving.modelserver.apis.examples import Endpoints, run_examples, serialized_examples
from headway_serving.modelserver.apis.predict import DEFAULT_SIGNATURE, PredictOptions, Runnable, write_model_spec
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument
from headway_serving.modelserver.messages import ModelSpec

_ENDPOINTS: dict[str, Callable[[Any, PredictOptions], Endpoints]] = {
    classify.METHOD: classify.classify_endpoints,
    regress.METHOD: regress.regress_endpoints,
}


def run_multi_inference(
    servable: Runnable, request: Any, options: PredictOptions, *, version: int | None, timeout_ms: int | None
) -> Any:
    """Return the MultiInferenceResponse message for a MultiInferenceRequest, answered by ``version`` (None: warm-up).

    Raises StatusError.
    """
    endpoints = _all_endpoints(servable, request.tasks, options)
    response = inference_pb2.MultiInferenceResponse()
    examples = serialized_examples(request.input)
    if not endpoints:
        return response
    tensors = run_examples(servable, examples, endpoints, timeout_ms)
    for task, endpoint in zip(request.tasks, endpoints, strict=True):
        result = response.results.add()
        if task.method_name == classify.METHOD:
            classify.write_classifications(result.classification_result, endpoint, tensors, len(examples))
        else:
            regress.write_regressions(result.regression_result, endpoint, tensors, len(examples))
        write_model_spec(result.model_spec, task.model_spec, version)
    return response


def _all_endpoints(servable: Runnable, tasks: Any, options: PredictOptions) -> list[Endpoints]:
    found: dict[str, Endpoints] = {}
    for task in tasks:
        key = _checked_signature(task.model_spec, tasks[0].model_spec, found)
        signature = servable.signatures.get(key)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {key}")
        endpoints_of = _ENDPOINTS.get(task.method_name)
        if endpoints_of is None:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        found[key] = endpoints_of(signature, options)
    return list(found.values())


def _checked_signature(spec: ModelSpec, first: ModelSpec, found: dict[str, Endpoints]) -> str:
    """Return the key of a task's signature after the checks that need no model."""
    if not spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if spec.name != first.name:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    key = str(spec.signature_name or DEFAULT_SIGNATURE)
    if key in found:
        raise invalid_argument(f"Duplicate evaluation of signature: {key}")
    return key
