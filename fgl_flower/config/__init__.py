"""The configuration of a run: one flat TOML file, in code made of parts."""

from fgl_flower.config.captioner import CaptionerConfig
from fgl_flower.config.data import DataConfig, SourceConfig
from fgl_flower.config.describe import describe_keys
from fgl_flower.config.federation import FederationConfig
from fgl_flower.config.learner import LearnerConfig
from fgl_flower.config.machine import MachineConfig
from fgl_flower.config.places import PlacesConfig
from fgl_flower.config.privacy import PrivacyConfig
from fgl_flower.config.prompts import PromptConfig
from fgl_flower.config.run_config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.config.synthesis import SynthesisConfig

__all__ = [
    "METHODS_WITHOUT_CLIENTS",
    "CaptionerConfig",
    "DataConfig",
    "FederationConfig",
    "LearnerConfig",
    "MachineConfig",
    "PlacesConfig",
    "PrivacyConfig",
    "PromptConfig",
    "RunConfig",
    "SourceConfig",
    "SynthesisConfig",
    "describe_keys",
]
