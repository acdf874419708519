"""How the private labels lie over the clients: Flower Datasets' own plot, drawn from the counts a run left."""

import io
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

INK, SOFT = "#010203", "#040506"  # stand-ins that the page's colours replace, so that the plot follows light and dark
COLOURS = (
    "#4e79c9", "#e28743", "#3f9d72", "#c9495d", "#8d6cc2", "#a97c50", "#d67bb2", "#8b8f94", "#b5a832", "#45a8bd",
)  # fmt: skip


def partition_plot(counts: np.ndarray, classes: Sequence[str], *, clients: int = 60) -> Markup:
    """Return a stacked bar a client as SVG.

    Parameters
    ----------
    counts : np.ndarray
        (clients, classes) int.
    classes : sequence of str
    clients : int
        Show at most so many: more bars could not be told apart.
    """
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # the plot function reports its use otherwise
    import matplotlib

    matplotlib.use("Agg")
    import datasets
    from flwr_datasets.partitioner import Partitioner
    from flwr_datasets.visualization import plot_label_distributions
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap

    table = np.asarray(counts, dtype=np.int64)[:clients]
    if not table.sum():
        return Markup()

    class Counted(Partitioner):
        """A partitioner of labels alone, with the run's counts."""

        @property
        def num_partitions(self) -> int:
            return len(table)

        def load_partition(self, partition_id: int) -> datasets.Dataset:
            start = int(table[:partition_id].sum())
            # No range: `select` refuses an empty one that begins behind the last row (a last client without images).
            return self.dataset.select(np.arange(start, start + int(table[partition_id].sum())))

    labels = np.concatenate([np.repeat(np.arange(len(classes)), row) for row in table])
    features = datasets.Features({"label": datasets.ClassLabel(names=list(classes))})
    partitioner = Counted()
    partitioner.dataset = datasets.Dataset.from_dict({"label": labels}, features=features)
    style: dict[Any, Any] = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "axes.labelcolor"), SOFT)
    style |= {"svg.fonttype": "none", "font.size": 12.5, "text.color": INK, "svg.hashsalt": "partition"}
    with matplotlib.rc_context(style):
        figure, axis = plt.subplots(figsize=(5.6, 3.5))
        plot_label_distributions(
            partitioner,
            "label",
            title="",
            axis=axis,
            cmap=ListedColormap([COLOURS[n % len(COLOURS)] for n in range(len(classes))]),
            plot_kwargs={"xlabel": "client", "ylabel": "private images", "width": 0.8},
        )
        axis.spines[["top", "right"]].set_visible(False)
        if len(classes) <= 20:
            handles, names = axis.get_legend_handles_labels()
            figure.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(0.99, 0.5), frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg[svg.index("<svg") :], count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return Markup(svg.replace(INK, "var(--ink)").replace(SOFT, "var(--soft)"))  # matplotlib escapes text
