"""The board *Service*: traffic, errors, latency by version and arm, stages, saturation."""

from deploy.dashboards.board import MODELS, VERSIONS, WINDOW, Board, Panel, Query, Row

_BY_ARM = "{{model}}/{{version}} {{arm}}"


def _quantile(share: float) -> Query:
    buckets = f"sum by (model, version, arm, le) (rate(headway_request_seconds_bucket{{{VERSIONS}}}[{WINDOW}]))"
    return Query(f"histogram_quantile({share}, {buckets})", f"p{100 * share:g} {_BY_ARM}")


_TRAFFIC = Row("Traffic", (
    Panel("Requests", "Classification requests a second, by the version that answered and its arm.", "reqps", (
        Query(f"sum by (model, version, arm) (rate(headway_requests_total{{{VERSIONS}}}[{WINDOW}]))", _BY_ARM),)),
    Panel("Share that failed", "Requests that failed by a fault of the service; the objective is 0.1 %.", "percentunit",
          (Query(f'sum by (model) (rate(headway_requests_total{{{VERSIONS},code=~"deadline_exceeded|incompatible_model|'
                 f'internal_error|model_unavailable|overloaded|prediction_failed"}}[{WINDOW}])) '
                 f"/ sum by (model) (rate(headway_requests_total{{{VERSIONS}}}[{WINDOW}])) "
                 f"or 0 * sum by (model) (rate(headway_requests_total{{{VERSIONS}}}[{WINDOW}]))", "{{model}}"),),
          (0.001, 0.0144)),
    Panel("Outcomes", "Requests a second by outcome: ok, or the problem's code.", "reqps", (
        Query(f"sum by (code) (rate(headway_requests_total{{{VERSIONS}}}[{WINDOW}]))", "{{code}}"),), stacked=True),
))  # fmt: skip
_LATENCY = Row("Latency", (
    Panel("From request to answer", "Median and 99th percentile by version and arm; the objective is 0.25 s for 99 %.",
          "s", (_quantile(0.5), _quantile(0.99)), (0.25, 1.0)),
    Panel("Share that was slow", "Answers that took longer than the objective of 0.25 s, as a share of all.",
          "percentunit",
          (Query(f'1 - sum by (model) (rate(headway_request_seconds_bucket{{{VERSIONS},le="0.25"}}[{WINDOW}])) '
                 f"/ sum by (model) (rate(headway_request_seconds_count{{{VERSIONS}}}[{WINDOW}]))", "{{model}}"),),
          (0.01, 0.144)),
    Panel("Stages", "Mean seconds of each stage for a request: where the time goes.", "s", (
        Query(f"sum by (stage) (rate(headway_stage_seconds_sum{{{VERSIONS}}}[{WINDOW}])) "
              f"/ sum by (stage) (rate(headway_stage_seconds_count{{{VERSIONS}}}[{WINDOW}]))", "{{stage}}"),),
          stacked=True),
))  # fmt: skip
_SATURATION = Row("Saturation", (
    Panel("Pictures waiting and worked on", "Pictures in the queues of the gateways, and the most that are worked on.",
          "short", (
        Query(f"sum by (model) (headway_queue_pictures{{{MODELS}}})", "{{model}} waiting"),
        Query(f"sum by (model) (headway_queue_serving_pictures{{{MODELS}}})", "{{model}} worked on"),
        Query(f"sum by (model) (headway_queue_limit{{{MODELS}}})", "{{model}} limit"))),
    Panel("Wait of a newcomer", "How long a picture that comes now will wait; 0.25 s is the target.", "s", (
        Query(f"max by (model) (headway_queue_wait_seconds{{{MODELS}}})", "{{model}}"),), (0.25, 1.0)),
    Panel("Rows in a call", "Mean rows in one call to the model server: how well requests share calls.", "short", (
        Query(f"sum by (model, version) (rate(headway_batch_rows_sum{{{VERSIONS}}}[{WINDOW}])) / "
              f"sum by (model, version) (rate(headway_batch_rows_count{{{VERSIONS}}}[{WINDOW}]))",
              "{{model}}/{{version}}"),)),
    Panel("CPU", "Cores that each gateway keeps busy.", "short", (
        Query(f"rate(process_cpu_seconds_total[{WINDOW}]) and on (instance) headway_build_info", "{{instance}}"),)),
    Panel("Memory", "Resident memory of each gateway.", "bytes", (
        Query("process_resident_memory_bytes and on (instance) headway_build_info", "{{instance}}"),)),
    Panel("In flight", "Classification requests that are being worked on.", "short", (
        Query("sum by (instance) (headway_requests_in_flight)", "{{instance}}"),)),
))  # fmt: skip

SERVICE = Board("service", "Headway: service", "Traffic, errors, latency by version and arm, stages, saturation.",
                (_TRAFFIC, _LATENCY, _SATURATION))  # fmt: skip
