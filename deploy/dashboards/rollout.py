"""The board *Rollout*: weights, both arms side by side, what a shadow answers, and the decision."""

from deploy.dashboards.board import MODELS, VERSIONS, WINDOW, Board, Panel, Query, Row

_ARM = "{{model}} {{arm}}"
_ARMS = f'{VERSIONS},arm=~"stable|candidate"'

_ROLLOUT = Row("Where it stands", (
    Panel("Traffic by arm", "Share of a model's traffic for each version; of a shadow: that it gets copies of.",
          "percentunit", (
        Query(f"max by (model, version, arm) (headway_route_weight{{{VERSIONS}}})", "{{model}}/{{version}} {{arm}}"),)),
    Panel("State", "1 for the state that the rollout is in, with the reason it last gave: the decision.", "short", (
        Query(f"max by (model, candidate, state, reason) (headway_rollout_state{{{MODELS}}})",
              "{{model}}/{{candidate}} {{state}}: {{reason}}"),)),
    Panel("Stage, and for how long", "The stage that the rollout is at, from 0, and minutes since it began.", "short", (
        Query(f"max by (model) (headway_rollout_stage{{{MODELS}}})", "{{model}} stage"),
        Query(f"(time() - max by (model) (headway_rollout_stage_since_seconds{{{MODELS}}} > 0)) / 60",
              "{{model}} minutes"))),
))  # fmt: skip
_ARMS_SIDE_BY_SIDE = Row("Both arms side by side", (
    Panel("Requests", "Requests a second that each arm answered.", "reqps", (
        Query(f"sum by (model, arm) (rate(headway_requests_total{{{_ARMS}}}[{WINDOW}]))", _ARM),)),
    Panel("Failures", "Share of each arm's requests that were not answered with ok.",
          "percentunit", (
        Query(f'sum by (model, arm) (rate(headway_requests_total{{{_ARMS},code!="ok"}}[{WINDOW}])) '
              f"/ sum by (model, arm) (rate(headway_requests_total{{{_ARMS}}}[{WINDOW}])) "
              f"or 0 * sum by (model, arm) (rate(headway_requests_total{{{_ARMS}}}[{WINDOW}]))", _ARM),),
          (0.005, 0.02)),
    Panel("Mean latency", "Mean seconds from request to answer; more than 1.5 times stable's is an alert.", "s", (
        Query(f"sum by (model, arm) (rate(headway_request_seconds_sum{{{_ARMS}}}[{WINDOW}])) "
              f"/ sum by (model, arm) (rate(headway_request_seconds_count{{{_ARMS}}}[{WINDOW}]))", _ARM),),
          (0.25, 1.0)),
))  # fmt: skip
_SHADOW = Row("Shadow", (
    Panel("Mirrored pictures", "Pictures a second by outcome; dropped ones were not asked.", "short", (
        Query(f"sum by (outcome) (rate(headway_shadow_compared_total{{{VERSIONS}}}[{WINDOW}]))", "{{outcome}}"),),
          stacked=True),
    Panel("Disagreement", "Share of the compared pictures that the shadow labels otherwise.", "percentunit", (
        Query(f'sum by (model) (rate(headway_shadow_compared_total{{{VERSIONS},outcome="disagree"}}[{WINDOW}])) '
              f'/ sum by (model) (rate(headway_shadow_compared_total{{{VERSIONS},'
              f'outcome=~"agree|disagree"}}[{WINDOW}])) '
              f"or 0 * sum by (model) (rate(headway_shadow_compared_total{{{VERSIONS}}}[{WINDOW}]))",
              "{{model}}"),), (0.05, 0.1)),
    Panel("Compared by class", "Compared pictures a second by the label that stable gives.", "short", (
        Query(f"sum by (label) (rate(headway_shadow_class_compared_total{{{VERSIONS}}}[{WINDOW}]))", "{{label}}"),),
          stacked=True),
    Panel("Flips", "The ten most frequent changes of a label, in pictures since the gateways began.", "short", (
        Query(f"topk(10, sum by (model, from_label, to_label) (headway_shadow_flips_total{{{VERSIONS}}}))",
              "{{model}} {{from_label}} to {{to_label}}"),)),
))  # fmt: skip

ROLLOUT = Board("rollout", "Headway: rollout", "Weights, both arms side by side, shadow agreement, flips, decision.",
                (_ROLLOUT, _ARMS_SIDE_BY_SIDE, _SHADOW))  # fmt: skip
