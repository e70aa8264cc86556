"""The one tree of settings: sections are declared by the rooms, here they are only put together."""

from __future__ import annotations

import re
from typing import Literal

from elektronn.errors import ConfigError, GeometryError
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import geometry
from elektronn.prediction.settings import PredictSettings
from elektronn.report.settings import ReportSettings
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.data import DataSettings
from elektronn.segmentation.settings import SegmentSettings
from elektronn.settings import Settings, checked
from elektronn.training.plan import Plan, plan_of
from elektronn.training.settings import TrainingSettings
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.content import CheckSettings
from elektronn.volumes.sample import SampleSettings
from elektronn.volumes.table import VolumeEntry


class Experiment(Settings):
    """One network trained on some of the volumes."""

    volumes: tuple[str, ...] = ()
    """Names from the table of volumes; their roles stand there. Empty: all of the table."""
    data: DataSettings | None = None
    """A class of your own that gives the batches, instead of volumes."""
    segment: tuple[Literal["valid", "test", "predict"], ...] = ()
    """Roles of the volumes whose predictions the workflow divides into segments, and compares with the IDs where there
    are some; empty: none."""
    network: NetworkSettings = NetworkSettings()
    sampling: SamplingSettings = SamplingSettings()
    training: TrainingSettings = TrainingSettings()

    @checked
    def _outputs_on_voxels(self) -> Experiment:
        try:
            reach = geometry(chain(self.network))
            (reach.centred() if self.network.is_dense else reach).input_at_most(self.network.patch)
        except GeometryError as error:
            raise ValueError(f"network: {error}") from None
        return self

    @checked
    def _schedules_of_known_numbers(self) -> Experiment:
        try:
            self.plan()
        except ConfigError as error:
            raise ValueError(f"training.{error}") from None
        return self

    def plan(self) -> Plan:
        """What every number of the training is at every step."""
        return plan_of(self.training, self.sampling, chain(self.network))


class Params(Settings):
    """The whole of params.yaml."""

    data_root: str = "data/raw"
    """Folder that $ELEKTRONN_DATA in the table stands for when the environment variable of that name is not set."""
    volumes: str | tuple[VolumeEntry, ...] = "data/volumes.tsv"
    """The table of volumes, or its rows as a list."""
    sample: SampleSettings = SampleSettings()
    """The embedded synthetic data set."""
    boundaries: BoundarySettings = BoundarySettings()
    """IDs → boundary map."""
    check: CheckSettings = CheckSettings()
    """Registration of labels and images."""
    experiments: dict[str, Experiment] = {}
    """Experiments by name."""
    predict: PredictSettings = PredictSettings()
    segment: SegmentSettings = SegmentSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    report: ReportSettings = ReportSettings()

    @checked
    def _names(self) -> Params:
        for name in self.experiments:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"experiment '{name}': use small letters, digits and underscores, a letter first")
        return self
