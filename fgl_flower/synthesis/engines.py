"""Which engine draws: in this process, or on Ray actors."""

from fgl_flower.config import RunConfig
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine


def engine_for(config: RunConfig) -> SynthesisEngine:
    """Return the engine that a run configuration asks for."""
    model, revision, batch = config.generator, config.generator_revision, config.synthesis_batch_size
    if config.synthesis_engine == "ray":
        from fgl_flower.synthesis.ray_engine import RayEngine  # Ray takes a second to import

        return RayEngine(
            model, revision, config.device, batch, actors=config.synthesis_actors, address=config.ray_address
        )
    return LocalEngine(model, revision, config.device, batch)
