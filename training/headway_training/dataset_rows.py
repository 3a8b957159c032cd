"""Which rows of a named dataset are trained on, measured and tested, where a recipe names them one by one."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rows = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]
"""``[first, end)``, in the dataset's own order."""


class RowsRecipe(BaseModel):
    """Rows of a named dataset in its own order, before classes are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    train: Rows = Field(strict=False, description="of its training pictures, those to train on: [first, end)")
    validation: Rows = Field(strict=False, description="of its training pictures, those measured after each epoch")
    test: Rows = Field(strict=False, description="of its test pictures, those for the final accuracy")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        (low, end), (later, last) = sorted((self.train, self.validation))
        if not low < end <= later < last or self.test[0] >= self.test[1]:
            raise ValueError("train and validation overlap, or rows end before they begin; write [first, end)")
        return self
