"""The page of reproduced experiments is made of the kept figures, and of all of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headway_training.recipe_files import builtin_recipes, load_recipe
from scripts.published_figures import EXPERIMENTS, RANDOM_WEIGHTS
from scripts.reproduced_page import missed, page
from scripts.run_figures import Depth, Figures, RunFigures

DOCS = Path(__file__).parents[2] / "docs"
ROW = next(row for row in EXPERIMENTS if row.as_published == "mnist-0to4-as-published")
BASE_ROW = next(row for row in EXPERIMENTS if row.as_published == "mnist-5to9-as-published")


def run(seed: int, accuracy: float, recipe: str = "mnist-0to4-as-published", **more: Any) -> RunFigures:
    plain = RunFigures(recipe, seed, accuracy, accuracy - 0.01, accuracy + 0.01, 60.0, "2026-01-02")
    return replace(plain, **more)


def test_the_page_is_what_the_kept_figures_make() -> None:
    assert (DOCS / "reproduced.md").read_text(encoding="utf-8") == page(Figures.read(DOCS / "reproduced.json"))


def test_every_row_names_recipes_that_there_are_and_every_recipe_as_published_has_a_row() -> None:
    named = {name for row in EXPERIMENTS for name in (row.as_published, row.improved) if name}
    assert named - {RANDOM_WEIGHTS} <= set(builtin_recipes())
    assert {name for name in builtin_recipes() if name.endswith("-as-published")} <= named


@pytest.mark.parametrize("row", [row for row in EXPERIMENTS if row.epochs], ids=lambda row: row.as_published)
def test_the_published_curve_ends_with_the_published_accuracy(row) -> None:  # type: ignore[no-untyped-def]
    recipe = load_recipe(row.as_published)
    assert row.epochs[-1] == recipe.published_accuracy
    assert len(row.epochs) == recipe.fitting.epochs


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    figures = Figures([run(2, 0.6, epochs=(0.4, 0.6), depths=(Depth(0, 7, 0.5, 1.5),), others={"mnist": 0.1})])
    figures.put(run(1, 0.7))
    figures.put(run(2, 0.65))
    figures.facts, figures.failed = [("what", "said", "seen")], {"other": "no data"}
    figures.write(tmp_path / "figures.json")
    again = Figures.read(tmp_path / "figures.json")
    assert again == figures
    assert [found.accuracy for found in again.of("mnist-0to4-as-published")] == [0.7, 0.65]
    assert Figures.read(tmp_path / "none.json") == Figures()


def test_several_seeds_are_a_mean_and_a_spread_beside_the_published_curve_and_seconds() -> None:
    curve: dict[str, Any] = {
        "epochs": (0.1, 0.2, 0.3, 0.4, 0.5),
        "fit_seconds": 24.0,
        "cpu_seconds": 38.0,
        "base": BASE_ROW.as_published,
    }
    base = run(1, 0.7, str(BASE_ROW.as_published), cpu_seconds=76.0, epoch_seconds=10.0)
    text = page(Figures([run(1, 0.6, **curve), run(2, 0.8, **curve), base]), [BASE_ROW, ROW])
    assert "**0.7000** [0.6000, 0.8000; 2 seeds], 38 CPU s" in text
    assert "| published | 0.4283 | 0.5192 | 0.5809 | 0.6250 | 0.6908 | 15.7 |" in text
    assert "|  | seed 2 | 0.1000 | 0.2000 | 0.3000 | 0.4000 | 0.5000 | 24 | 38 |" in text
    assert "| 15.7 / 17.42 = 0.90 | 38 / 76 | 0.50 |" in text
    assert "1. After one epoch the head is where the base was" in text


def test_a_bar_is_missed_by_the_mean_and_by_what_was_not_run() -> None:
    assert missed(Figures(), [ROW]) == ["mnist-0to4"]
    assert missed(Figures([run(1, 0.9949, "mnist-0to4")]), [ROW]) == ["mnist-0to4"]
    assert missed(Figures([run(1, 0.9949, "mnist-0to4"), run(2, 0.9960, "mnist-0to4")]), [ROW]) == []
    assert "`mnist-0to4`: not run" in page(Figures(), [ROW])
    assert "0.995: **no**" in page(Figures([run(1, 0.99, "mnist-0to4")]), [ROW])


def test_what_could_not_run_says_why_on_the_page() -> None:
    assert "- `densenet121-as-published` could not run here: no file" in page(
        Figures(failed={"densenet121-as-published": "no file"}), [ROW]
    )
