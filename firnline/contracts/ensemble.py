"""The ensemble manifest: what an ensemble is, in TOML; how it works is plain Python beside it."""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from firnline.contracts.quantize import Parity, Quantize
from firnline.contracts.spdx import expression
from firnline.digest import digest
from firnline.errors import HandshakeError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
FeatureReference = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*@v[1-9][0-9]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Identity(_Part):
    """Who the ensemble is.

    Attributes:
        name: The ensemble's name, also its MLflow model and its folder under data/.
        entity: What a prediction is about, such as `device`.
        key: The entity's column in readings and features.
        license: SPDX expression of what is made of it; None where nobody has said.
    """

    name: Name
    entity: Name
    key: Name = "device_id"
    license: Annotated[str, AfterValidator(expression)] | None = None


class Simulate(_Part):
    """A fleet to simulate where there are no readings.

    Attributes:
        devices: How many.
        days: How many days of readings, one a minute.
        seed: The same seed gives the same bytes.
    """

    devices: int = Field(ge=1)
    days: int = Field(ge=1)
    seed: int = Field(ge=0)


class Data(_Part):
    """Where readings come from and what they must hold.

    Attributes:
        contract: TOML file of the reading contract, relative to the manifest.
        simulate: Fleet to simulate when no data is given and none is there.
    """

    contract: str = "contract.toml"
    simulate: Simulate | None = None


class Features(_Part):
    """Where the ensemble's window features are defined.

    Attributes:
        module: Python module with `VIEWS`, a tuple of `firnline.contracts.features.WindowView`.
    """

    module: str


class Output(_Part):
    """One column block a stage produces.

    Attributes:
        name: Name within the stage.
        dtype: ONNX tensor type; float32 throughout.
        shape: Columns a row holds; empty for one value.
        range: Closed interval the values stay in, where there is one.
    """

    name: Name
    dtype: Literal["float32"] = "float32"
    shape: tuple[int, ...] = ()
    range: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """Columns of the output as a matrix of shape [rows, width]."""
        return self.shape[0] if self.shape else 1


class Stage(_Part):
    """One model of the ensemble.

    Attributes:
        name: Name within the ensemble.
        recipe: `package.module:Class` of a `models.recipe.Recipe`.
        features: Feature views it reads, as `name@vN`.
        upstream: Outputs of earlier stages it reads, as `stage.output`.
        outputs: What it produces, in order.
        options: Keyword arguments of the recipe.
    """

    name: Name
    recipe: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    features: tuple[FeatureReference, ...] = Field(min_length=1)
    upstream: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)


class Decide(_Part):
    """How the last stage's output becomes a decision.

    Attributes:
        output: `stage.output` that holds scores: one column, or one a class.
        classes: Class names by column; the first is the normal one. Empty for one score.
        threshold: `calibrated` takes the recipe's own threshold; else a number in score units.
        baseline: `stage.output` the shadow compares with while no model is live.
    """

    output: str
    classes: tuple[str, ...] = ()
    threshold: Literal["calibrated"] | float = "calibrated"
    baseline: str | None = None


class Split(_Part):
    """How labelled windows are divided, by time and by entity; never at random over rows.

    Attributes:
        kind: `time-and-entity` holds out entities and the later time; `first-rows` trains on
            each entity's first rows and tests on the rest.
        holdout_entities: Share of entities (by hash of their key) kept out of training.
        train_fraction: Share of the time span that trains.
        gap: Time between training and test that neither uses.
        first_rows: Rows of the training set per entity that train, for `first-rows`.
        folds: Folds of the out-of-fold predictions between stages.
        fold_by: `entity` cuts the training entities into folds, each predicted by a stage that
            never saw it. `time` cuts every entity's training rows into blocks and predicts the
            last one from the earlier ones, for stages that hold values of each entity.
        seed: Seed of everything random in training.
    """

    kind: Literal["time-and-entity", "first-rows"] = "time-and-entity"
    holdout_entities: float = Field(default=0.2, gt=0, lt=1)
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    gap: timedelta = timedelta(0)
    first_rows: int = Field(default=400, gt=0)
    folds: int = Field(default=4, ge=2)
    fold_by: Literal["entity", "time"] = "entity"
    seed: int = 42


class Release(_Part):
    """Where a release goes.

    Attributes:
        targets: Target profiles by name.
        waves: Cumulative fleet share of each wave.
    """

    targets: tuple[str, ...] = ("cpu-x86_64",)
    waves: tuple[float, ...] = (0.10, 0.50, 1.00)


class Retrain(_Part):
    """When it is trained anew.

    Attributes:
        cadence: Time between retrainings.
        carbon_slack: Most a retraining may wait for greener power.
        duration: How long a retraining takes.
    """

    cadence: timedelta = timedelta(days=7)
    carbon_slack: timedelta = timedelta(hours=48)
    duration: timedelta = timedelta(hours=1)


class PublishedRow(_Part):
    """Scores somebody else published; FAR and MAR in percent."""

    method: str
    f1: float
    far: float
    mar: float
    auc: float | None = None


class Published(_Part):
    """A published table to stand beside.

    Attributes:
        source: Where it was published.
        rows: Its rows.
    """

    source: str
    rows: tuple[PublishedRow, ...]


class Ensemble(_Part):
    """A whole manifest, checked."""

    ensemble: Identity
    data: Data = Data()
    features: Features
    stage: tuple[Stage, ...] = Field(min_length=1)
    decide: Decide
    split: Split = Split()
    quantize: Quantize = Quantize()
    parity: Parity = Parity()
    release: Release = Release()
    retrain: Retrain = Retrain()
    protocols: dict[str, str] = Field(
        default_factory=dict,
        description="Name -> `module:function` of a published protocol the ensemble reproduces.",
    )
    published: Published | None = None

    @property
    def name(self) -> str:
        """The ensemble's name."""
        return self.ensemble.name

    @property
    def key(self) -> str:
        """The entity's column."""
        return self.ensemble.key

    def references(self) -> tuple[str, ...]:
        """Feature references of all stages, each once, in the order of first use."""
        return tuple(dict.fromkeys(ref for stage in self.stage for ref in stage.features))

    def output(self, reference: str) -> Output:
        """The output that `stage.output` names."""
        stage_name, _, output_name = reference.partition(".")
        for stage in self.stage:
            for output in stage.outputs:
                if (stage.name, output.name) == (stage_name, output_name):
                    return output
        raise KeyError(reference)

    def digest(self) -> str:
        """sha256 of the manifest's meaning; comments, layout and the licence do not count."""
        return digest(self.model_dump(mode="json", exclude={"ensemble": {"license"}}))

    @model_validator(mode="after")
    def _wired(self) -> Self:
        produced: dict[str, Output] = {}
        for stage in self.stage:
            unknown = [name for name in stage.upstream if name not in produced]
            if unknown:
                raise ValueError(
                    f"stage {stage.name!r} reads {', '.join(unknown)}, which no earlier stage "
                    f"produces (there are: {', '.join(produced) or 'none'})"
                )
            produced |= {f"{stage.name}.{output.name}": output for output in stage.outputs}
        for role, reference in (
            ("decide.output", self.decide.output),
            ("decide.baseline", self.decide.baseline),
        ):
            if reference is not None and reference not in produced:
                raise ValueError(f"{role} names {reference}, which no stage produces")
        classes = self.decide.classes
        width = produced[self.decide.output].width
        if classes and len(classes) != width:
            raise ValueError(
                f"decide.classes names {len(classes)} classes, but {self.decide.output} "
                f"has {width} columns"
            )
        return self


def load(path: Path) -> Ensemble:
    """Read and check a manifest.

    Raises:
        HandshakeError: M1 there is none, M2 it is not TOML, M3 it does not fit the schema.
    """
    if not path.is_file():
        raise HandshakeError(
            "M1",
            found="no manifest",
            where=str(path),
            mend="name an ensemble under models/, or a folder that holds an ensemble.toml",
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HandshakeError(
            "M2", found=f"not readable as TOML: {error}", where=str(path), mend="fix that line"
        ) from error
    try:
        return Ensemble.model_validate(document)
    except ValidationError as error:
        breaches = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'manifest'}: {item['msg']}"
            for item in error.errors()
        )
        raise HandshakeError(
            "M3",
            found=breaches,
            where=str(path),
            mend="docs/reference/manifest.md lists every field",
        ) from error
