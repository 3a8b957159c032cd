"""Every metric that Headway has, named in this one file: of the gateway, the embedded model server and the supervisor.

Names, labels and help are data, without Prometheus' library, so that whoever shows or reads metrics (rules, dashboards,
documentation, tests) takes them from here. Units are base units: seconds, bytes, shares of 0 to 1. What TensorFlow
Serving calls ``:tensorflow:serving:...`` has that name in the embedded model server too and is not listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM, SUMMARY = "counter", "gauge", "histogram", "summary"


@dataclass(frozen=True)
class Metric:
    """One family. ``name``: as it stands on the page, a counter's with ``_total``. ``labels``: in their order."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def stem(self) -> str:
        """The name as Prometheus' library wants it, without ``_total``."""
        return self.name.removesuffix("_total")


def _listed(kind: str, name: str, labels: str, text: str) -> Metric:
    return Metric(name, kind, tuple(labels.split()), text)


def _counter(name: str, labels: str, text: str) -> Metric:
    return _listed(COUNTER, name, labels, text)


def _gauge(name: str, labels: str, text: str) -> Metric:
    return _listed(GAUGE, name, labels, text)


# What was asked and answered.
REQUESTS = _counter(
    "headway_requests_total", "model version arm code", "Classification requests by outcome: ok or the problem's code"
)
IMAGES = _counter("headway_images_total", "model version arm", "Pictures answered")
REQUEST_SECONDS = _listed(
    HISTOGRAM, "headway_request_seconds", "model version arm", "Seconds from request to answer, all outcomes"
)
OUTCOME_SECONDS = _listed(
    HISTOGRAM,
    "headway_outcome_seconds",
    "outcome",
    "Seconds from request to answer by class of outcome: ok, refused (4xx), overloaded, late (504), failed (other 5xx)",
)
STAGE_SECONDS = _listed(
    SUMMARY,
    "headway_stage_seconds",
    "model version arm stage",
    "Seconds in one stage: read, queue, decode, preprocess, batch, features, predict",
)
FALLBACKS = _counter(
    "headway_fallbacks_total",
    "model version code",
    "Candidates that failed, by the problem's code, where the stable version answered",
)
BAD_PICTURES = _counter("headway_bad_pictures_total", "code", "Pictures that could not be read, by the problem's code")
BODY_BYTES = _listed(HISTOGRAM, "headway_request_body_bytes", "", "Bytes in the body of a classification")
REQUEST_PICTURES = _listed(HISTOGRAM, "headway_request_pictures", "", "Pictures in one classification")
SLO_SECONDS = _gauge(
    "headway_slo_seconds", "", "Seconds in which requests shall be answered; headway_request_seconds has that edge"
)
SHED = _counter(
    "headway_shed_total",
    "model arm reason",
    "Requests turned away, by why: limit, deadline, bytes, memory, threads, connections; model and arm where known",
)
IN_FLIGHT = _gauge("headway_requests_in_flight", "", "Classification requests being worked on")

# Whom it was answered to, and what else was said.
TOKEN_REQUESTS = _counter("headway_token_requests_total", "token", "Requests by the name of the token they came with")
TOKENS_VALID = _gauge(
    "headway_tokens_valid", "", "1 if the tokens file as it is now is in force, or none is used; else 0"
)
REFUSED_CALLERS = _counter(
    "headway_refused_callers_total", "code", "Requests refused for their token, by the problem's code"
)
HTTP_ANSWERS = _counter(
    "headway_http_answers_total", "status", "HTTP answers of any kind by status, those to no request included"
)
CONNECTIONS = _gauge("headway_connections", "", "Open connections of clients")
CONNECTIONS_LIMIT = _gauge("headway_connections_limit", "", "Connections that may be open at the same time")
DRAINING = _gauge("headway_draining", "", "1 while the gateway finishes its requests in order to stop")

# What the answers say: drift is seen here.
ANSWERS = _counter(
    "headway_answers_total",
    "model version label",
    "Pictures answered by their best label; beyond 20 labels of a model: other",
)
ANSWER_SCORE = _listed(HISTOGRAM, "headway_answer_score", "model version", "Score of the best label, 0 to 1")
ABSTENTIONS = _counter(
    "headway_abstentions_total", "model version", "Pictures answered without a prediction: no score was high enough"
)
FEEDBACK = _counter(
    "headway_feedback_total", "model version arm outcome", "Answers whose truth an application told: right or wrong"
)

# Queues and memory.
QUEUE_PICTURES = _gauge("headway_queue_pictures", "model", "Pictures that wait for their turn")
QUEUE_SERVING = _gauge("headway_queue_serving_pictures", "model", "Pictures that are worked on")
QUEUE_LIMIT = _gauge("headway_queue_limit", "model", "Pictures that may be worked on at the same time now")
QUEUE_WAIT_SECONDS = _gauge("headway_queue_wait_seconds", "model", "How long a picture that comes now will wait")
QUEUE_SHEDDING = _gauge("headway_queue_shedding", "model", "1 while pictures are refused because the queue stands")
BATCH_WAITING_ROWS = _gauge(
    "headway_batch_waiting_rows", "model version", "Rows that wait for the next call to the model server"
)
BATCH_CALLS = _gauge("headway_batch_calls", "", "Calls to the model server that are under way")
BATCH_ROWS = _listed(HISTOGRAM, "headway_batch_rows", "model version signature", "Rows in one call to the model server")
BATCH_WAIT_SECONDS = _listed(
    HISTOGRAM, "headway_batch_wait_seconds", "", "Seconds that a request's rows waited for their call"
)
HELD_BYTES = _gauge("headway_held_bytes", "", "Bytes of request bodies that are held now")
HELD_BYTES_LIMIT = _gauge("headway_held_bytes_limit", "", "Most bytes of request bodies held at the same time")
DECODE_BYTES = _gauge("headway_decode_bytes", "", "Bytes of memory reserved for pictures being decoded now")
DECODE_BYTES_LIMIT = _gauge("headway_decode_bytes_limit", "", "Most bytes reserved for decoding at the same time")
MEMORY_LIMIT_BYTES = _gauge(
    "headway_memory_limit_bytes", "", "Memory that the container may use, where its control group has a limit"
)

# The model server, as the gateway sees it.
MODEL_SERVER_UP = _gauge(
    "headway_model_server_up", "server", "1 if the model server answered when it was last asked for its versions"
)
MODEL_SERVER_CALLS = _counter(
    "headway_model_server_calls_total",
    "method transport code",
    "Calls to the model server by gRPC status code; transport: grpc or local (the Unix socket)",
)
MODEL_SERVER_CALL_SECONDS = _listed(
    HISTOGRAM, "headway_model_server_call_seconds", "signature", "Seconds of one Predict, answered or not"
)
VERSION_STATE = _gauge(
    "headway_version_state",
    "server model version state",
    "1 for the state that the model server says a version is in: START, LOADING, AVAILABLE, UNLOADING or END",
)
VERSION_LOAD_FAILED = _gauge(
    "headway_version_load_failed",
    "server model version code",
    "1 for a version that the model server could not load, with the gRPC code of the reason",
)

# Routes, rollouts and shadows.
ROUTES_VALID = _gauge(
    "headway_routes_valid", "", "1 if the routes file as it is now is in force, 0 if the last good one is"
)
ROUTES_INFO = _gauge("headway_routes_info", "digest", "Always 1; the first 16 digits of the SHA-256 of the routes read")
ROUTES_TIMESTAMP = _gauge("headway_routes_timestamp_seconds", "", "Unix time at which these routes were read")
ROUTES_PENDING = _gauge(
    "headway_routes_pending", "model", "1 while new routes of a model wait for versions that cannot answer yet"
)
ROUTE_WEIGHT = _gauge(
    "headway_route_weight",
    "model version arm",
    "Share of a model's traffic that a version gets, 0 to 1; of a shadow: that it gets copies of",
)
ROLLOUT_STATE = _gauge(
    "headway_rollout_state",
    "model candidate state reason",
    "1 for the state that a model's rollout is in, with the reason it last gave",
)
ROLLOUT_STAGE = _gauge("headway_rollout_stage", "model candidate", "The stage that a rollout is at: 0 is the first")
ROLLOUT_STAGE_SINCE = _gauge(
    "headway_rollout_stage_since_seconds",
    "model candidate",
    "Unix time from which the traffic of the stage counts",
)
SHADOW_COMPARED = _counter(
    "headway_shadow_compared_total",
    "model version outcome",
    "Mirrored pictures: agree, disagree, error (the shadow failed), dropped",
)
SHADOW_CLASSES = _counter(
    "headway_shadow_class_compared_total",
    "model version label",
    "Mirrored pictures that were compared, by the stable version's label",
)
SHADOW_FLIPS = _counter(
    "headway_shadow_flips_total",
    "model version from_label to_label",
    "Mirrored pictures whose label the shadow changes",
)
SHADOW_SHIFT = _listed(
    HISTOGRAM,
    "headway_shadow_score_shift",
    "model version",
    "How far the score of the stable version's label moves, 0 to 1",
)
SHADOW_QUEUE = _gauge("headway_shadow_queue_requests", "", "Mirrored requests that wait to be asked of a shadow")
SHADOW_QUEUE_BYTES = _gauge("headway_shadow_queue_bytes", "", "Bytes of the mirrored requests that wait")
KEY_REQUESTS = _counter(
    "headway_key_requests_total",
    "model version code",
    "Routing keys by the outcome of their first request in a stage of a rollout",
)
KEY_LATENCY = _counter(
    "headway_key_latency_total",
    "model version up_to",
    "Of those that were answered: requests by seconds from request to answer, up to the step's edge",
)
KEY_WORK = _counter(
    "headway_key_work_total",
    "model version up_to",
    "Of those that were answered: requests by seconds of work for a picture, up to the step's edge",
)
KEY_LABELS = _counter(
    "headway_key_labels_total",
    "model version label",
    "Of those that were answered: the best label of the first picture",
)
KEY_SCORES = _counter(
    "headway_key_scores_total", "model version up_to", "Of those that were answered: the score of that label, up to"
)
KEY_FEEDBACK = _counter(
    "headway_key_feedback_total",
    "model version outcome",
    "Routing keys by the outcome of the first feedback on one of their answers in a stage",
)

# The process itself.
BUILD_INFO = _gauge(
    "headway_build_info",
    "version process",
    "Always 1; the version of the gateway, and a name of its own for each process",
)
SCRAPE_SECONDS = _listed(SUMMARY, "headway_scrape_seconds", "", "Seconds that making this page took, each time before")
LOG_RECORDS = _counter("headway_log_records_total", "level", "Log records of this process that were written or counted")

# The supervisor (`headway serve`) writes these to a file that its gateway reads when it is scraped.
CHILD_UP = _gauge("headway_child_up", "child", "1 while a child of headway serve runs: gateway or model server")
CHILD_RESTARTS = _counter(
    "headway_child_restarts_total", "child", "How often headway serve has started a child that died again"
)

GATEWAY: Sequence[Metric] = tuple(each for each in globals().values() if isinstance(each, Metric))
"""Every metric on the gateway's page; the last two only where ``headway serve`` has started it."""

SERVER_VERSION_STATE = _gauge(
    "headway_server_version_state",
    "model version state",
    "1 for the state that a version is in: START, LOADING, AVAILABLE, UNLOADING or END",
)
SERVER_LOAD_FAILURES = _counter(
    "headway_server_load_failures_total",
    "model version reason",
    "Tries to load a version that failed, by the gRPC code of the reason",
)
SERVER_BUILD_INFO = _gauge("headway_server_build_info", "version", "Always 1; the version of the embedded model server")

MODEL_SERVER: Sequence[Metric] = (SERVER_VERSION_STATE, SERVER_LOAD_FAILURES, SERVER_BUILD_INFO)
"""What the embedded model server says beside what TensorFlow Serving has."""
