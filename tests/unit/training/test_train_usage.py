"""``headway train`` is told what to train in one way; mixtures are refused before anything is read."""

import pytest

from headway_training.cli import train_main

RECIPES_OR_PICTURES = "name recipes, or give your own pictures with --images DIR --name NAME"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], RECIPES_OR_PICTURES),
        (["digits-5to9", "--images", "pictures", "--name", "mine"], RECIPES_OR_PICTURES),
        (["--name", "mine"], RECIPES_OR_PICTURES),
        (["--images", "pictures"], "--images DIR and --name NAME belong together"),
        (["digits-5to9", "--name", "mine"], "--images DIR and --name NAME belong together"),
        (["digits-5to9", "digits-0to4", "--resume", "c.keras"], "--checkpoint and --resume are for one recipe"),
        (["digits-5to9", "digits-0to4", "--checkpoint", "c.h5"], "--checkpoint and --resume are for one recipe"),
        (["digits-5to9", "--on-bad-image", "ignore"], "invalid choice: 'ignore'"),
    ],
)
def test_a_mixture_is_a_usage_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        train_main(arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_a_name_that_cannot_be_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main(["--images", "pictures", "--name", "my pictures"]) == 2
    assert "--images pictures is refused:\n  name: 'my pictures' cannot be a model's name" in capsys.readouterr().err
