"""Every setting, once: FIRNLINE_* variables, read in wiring.py and passed on as values."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What differs between machines; what differs between ensembles is in their manifest.

    Attributes:
        project: Folder that holds models/, data/ and data.dvc.
        home: State made at run time: databases, artifacts, ledger.
        memory_limit: DuckDB's memory limit, with its unit.
        temp_limit: DuckDB's limit for what it spills to disk, with its unit.
        threads: Threads of DuckDB; training and scoring use one, so that results are the same.
        carbon_file: Carbon-intensity series (CSV) when the data brings none.
        prefect_port: Loopback port of `make up`'s Prefect server.
        mlflow_port: Loopback port of `make up`'s MLflow server.
        channel: The channel's folder; `channel` below the state folder when not given.
        keys: Folder of the channel's key files; `keys` below the state folder when not given.
    """

    model_config = SettingsConfigDict(env_prefix="FIRNLINE_", frozen=True)

    project: Path = Field(default_factory=Path.cwd)
    home: Path = Path(".firnline")
    memory_limit: str = "1GB"
    temp_limit: str = "8GB"
    threads: int = Field(default=2, ge=1)
    carbon_file: Path | None = None
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    channel: Path | None = None
    keys: Path | None = None

    @property
    def state(self) -> Path:
        """The state folder as an absolute path."""
        return (self.project / self.home).resolve()

    @property
    def channel_folder(self) -> Path:
        """The channel's folder as an absolute path."""
        return (self.project / (self.channel or self.home / "channel")).resolve()

    @property
    def key_folder(self) -> Path:
        """The folder of the channel's key files as an absolute path."""
        return (self.project / (self.keys or self.home / "keys")).resolve()

    @property
    def data(self) -> Path:
        """Where raw-reading snapshots live, as data.dvc names them."""
        return self.project.resolve() / "data"
