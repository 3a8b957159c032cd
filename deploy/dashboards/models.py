"""The board *Models*: what the answers are, how sure, and whether that changes."""

from deploy.dashboards.board import MODELS, VERSIONS, WINDOW, Board, Panel, Query, Row

_VERSION = "{{model}}/{{version}}"
_SCORES = f"rate(headway_answer_score_bucket{{{VERSIONS}}}[{WINDOW}])"

_ANSWERS = Row("Answers", (
    Panel("Label shares", "Share of each label in the answers of the model; beyond 20 labels: other.", "percentunit", (
        Query(f"sum by (model, label) (rate(headway_answers_total{{{VERSIONS}}}[{WINDOW}])) / on (model) group_left () "
              f"sum by (model) (rate(headway_answers_total{{{VERSIONS}}}[{WINDOW}]))", "{{model}} {{label}}"),)),
    Panel("Abstentions", "Share of the pictures answered without a label, because no score was high enough.",
          "percentunit", (
        Query(f"sum by (model, version) (rate(headway_abstentions_total{{{VERSIONS}}}[{WINDOW}])) "
              f"/ sum by (model, version) (rate(headway_images_total{{{VERSIONS}}}[{WINDOW}])) "
              f"or 0 * sum by (model, version) (rate(headway_images_total{{{VERSIONS}}}[{WINDOW}]))", _VERSION),),
          (0.05, 0.2)),
    Panel("Right, by feedback", "Share of the answers whose truth was told and that were right.", "percentunit", (
        Query(f'sum by (model, version) (rate(headway_feedback_total{{{VERSIONS},outcome="right"}}[{WINDOW}])) '
              f"/ sum by (model, version) (rate(headway_feedback_total{{{VERSIONS}}}[{WINDOW}]))", _VERSION),)),
))  # fmt: skip
_SURENESS = Row("Scores", (
    Panel("Score of the best label", "Share of the answers with a score of at most 0.5, 0.8 and 0.95.", "percentunit", (
        Query(f'sum by (model, version, le) (rate(headway_answer_score_bucket{{{VERSIONS},le!="+Inf"}}[{WINDOW}])) '
              "/ on (model, version) group_left () "
              f"sum by (model, version) (rate(headway_answer_score_count{{{VERSIONS}}}[{WINDOW}]))",
              f"{_VERSION} up to {{{{le}}}}"),), (0.2, 0.5)),
    Panel("Mean score", "Mean score of the best label: a fall means pictures that the model does not know.",
          "percentunit", (
        Query(f"sum by (model, version) (rate(headway_answer_score_sum{{{VERSIONS}}}[{WINDOW}])) "
              f"/ sum by (model, version) (rate(headway_answer_score_count{{{VERSIONS}}}[{WINDOW}]))", _VERSION),)),
))  # fmt: skip
_DRIFT = Row("Drift", (
    Panel("Label shares of a day", "Share of each label in the answers of the last day.", "percentunit", (
        Query(f"model_label:headway_answers:share1d{{{MODELS}}}", "{{model}} {{label}}"),)),
    Panel("Distance to last week", "Share of a day's answers that would need another label to look like last week's; "
          "more than 0.2 is an alert.", "percentunit", (
        Query(f"model:headway_answers:drift7d{{{MODELS}}}", "{{model}}"),), (0.1, 0.2)),
))  # fmt: skip

MODELS_BOARD = Board("models", "Headway: models", "Label shares, scores, abstentions, feedback and drift.",
                     (_ANSWERS, _SURENESS, _DRIFT))  # fmt: skip
