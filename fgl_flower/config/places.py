"""Where the files of a run lie; none of it changes what comes out."""

from pydantic import Field

from fgl_flower.config.part import Part


class PlacesConfig(Part):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    name: str = Field(
        "", max_length=80, description="Name of the run folder; empty: made from method, partition and seed."
    )
    runs_dir: str = Field("runs", min_length=1, description="Folder that receives the run folder.")
    store_dir: str = Field("", description="Synthetic store; empty: 'store' inside runs-dir. Runs may share it.")
    resume: str = Field(
        "", description="Under flwr run: the folder of a run of the same keys that ended early, to go on with it."
    )
    tensorboard: bool = Field(
        False, description="Write TensorBoard scalars and images into the run folder's tensorboard/."
    )
