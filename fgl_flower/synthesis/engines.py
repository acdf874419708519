"""Which engine draws: in this process, or on Ray actors."""

from fgl_flower.config import RunConfig
from fgl_flower.foundation.memory import Memory
from fgl_flower.foundation.origin import Origin
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine


def engine_for(config: RunConfig) -> SynthesisEngine:
    """Return the engine that a run configuration asks for."""
    origin, batch, memory = Origin.configured(config), config.synthesis_batch_size, Memory.of(config)
    if config.synthesis_engine == "ray":
        from fgl_flower.synthesis.ray_engine import RayEngine  # Ray takes a second to import

        return RayEngine(
            origin,
            device=config.device,
            batch_size=batch,
            memory=memory,
            actors=config.synthesis_actors,
            address=config.ray_address,
        )
    compiled = {"auto": None, "always": True, "never": False}[config.compile]
    return LocalEngine(origin, device=config.device, batch_size=batch, memory=memory, compiled=compiled)
