"""The answers of the REST interface: the shapes that its routes return and its client parses.

Times are aware and UTC; numbers are finite or null, with a reason beside them. A client ignores keys it does
not know, so a newer service stays readable.
"""

from luthier.service.schemas.bundles import BundleStudy
from luthier.service.schemas.data import DataView
from luthier.service.schemas.datasets import (
    ColumnPreview,
    DatasetFile,
    DatasetView,
    Lengths,
    Overlap,
    PreviewView,
    SplitPreview,
    ValueCount,
)
from luthier.service.schemas.external import AskedTrialView, ResumeView, WaitView
from luthier.service.schemas.fleet import (
    ColumnView,
    HyperparameterView,
    MetricView,
    QuarantineView,
    TaskView,
    WorkerView,
)
from luthier.service.schemas.listing import Page
from luthier.service.schemas.noise import GainView, IntervalView
from luthier.service.schemas.plans import ModelPlan, PlanEstimates, PlanView, PrunerPlan, RungPlan
from luthier.service.schemas.problems import Fault, ProblemView, faults_of
from luthier.service.schemas.projects import ProjectLimits, ProjectView
from luthier.service.schemas.schedules import ChampionView, RunView, ScheduleView
from luthier.service.schemas.studies import Counts, ModelCosts, StudyView
from luthier.service.schemas.successors import TakenFrom, TakenOverView, TakenView
from luthier.service.schemas.tokens import AuditView, NewTokenView, TokenView
from luthier.service.schemas.trials import FileView, StepView, TrialView
from luthier.service.schemas.winners import BaselineView, BestView, ConfirmedView, MajorityView, ModelView

__all__ = [
    "AskedTrialView",
    "AuditView",
    "BaselineView",
    "BestView",
    "BundleStudy",
    "ChampionView",
    "ColumnPreview",
    "ColumnView",
    "ConfirmedView",
    "Counts",
    "DataView",
    "DatasetFile",
    "DatasetView",
    "Fault",
    "FileView",
    "GainView",
    "HyperparameterView",
    "IntervalView",
    "Lengths",
    "MajorityView",
    "MetricView",
    "ModelCosts",
    "ModelPlan",
    "ModelView",
    "NewTokenView",
    "Overlap",
    "Page",
    "PlanEstimates",
    "PlanView",
    "PreviewView",
    "ProblemView",
    "ProjectLimits",
    "ProjectView",
    "PrunerPlan",
    "QuarantineView",
    "ResumeView",
    "RunView",
    "RungPlan",
    "ScheduleView",
    "SplitPreview",
    "StepView",
    "StudyView",
    "TakenFrom",
    "TakenOverView",
    "TakenView",
    "TaskView",
    "TokenView",
    "TrialView",
    "ValueCount",
    "WaitView",
    "WorkerView",
    "faults_of",
]
