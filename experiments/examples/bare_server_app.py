"""`FGL` in a Flower ServerApp of your own: nothing but the strategy, a store and a training function.

python -m experiments.examples.bare_server_app
"""

from typing import Any

from flwr.app import ArrayRecord, Context, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

import fgl_flower as fgl
from clients.client_app import app as client_app
from fgl_flower import Images, RunConfig
from strategies.fgl import FGL
from strategies.synthesis import Synthesis

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask for prompts, draw, train, and run two rounds of FedAvg from there."""
    config = RunConfig.parse(dict(context.run_config))
    source = fgl.load_source(config)
    model = fgl.build_model(config.model, len(source.classes), seed=config.seed)

    def train_on(arrays: ArrayRecord, images: Images, server_round: int) -> ArrayRecord:
        fgl.load_arrays(model, arrays)
        fgl.train(model, images, epochs=config.server_epochs, batch_size=128, lr=0.1, seed=config.seed)
        return fgl.to_arrays(model)

    store = fgl.SyntheticStore(f"{config.runs_dir}/store")
    synthesis = Synthesis(config, source.classes, source.domains, store)
    strategy = FGL(FedAvg(fraction_evaluate=0.0), synthesis, train_on)
    rounds = strategy.schedule.rounds(config.rounds)
    fgl.load_arrays(model, strategy.start(grid, fgl.to_arrays(model), num_rounds=rounds).arrays)
    images = fgl.decode(source.validation, config.image_size)
    done = fgl.evaluate(model, images, num_classes=len(source.classes), num_domains=len(source.domains))
    print(f"validation accuracy {done.accuracy:.3f} on {len(images)} images")


def simulate(**changes: Any) -> None:
    """Run the app with clients in this process; `flwr run` or a deployment would give it their own grid."""
    config = RunConfig(**{"rounds": 2, "local_lr": 0.03, **changes})
    context = Context(1, 1, {}, RecordDict(), config.to_flat())
    app(fgl.InlineGrid(client_app, config.clients, config.to_flat()), context)


if __name__ == "__main__":
    simulate()
