"""Terms that baselines add to a client's loss."""

import torch
from torch import nn
from torch.nn import functional as F

from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.training import LossTerm


def proximal(start: Classifier, mu: float) -> LossTerm:
    """Return FedProx' term, mu/2 times the squared distance to the global weights (Li et al., arXiv 1812.06127).

    Parameters
    ----------
    start : Classifier
        The global model, as received; copied.
    mu : float
        >= 0.
    """
    anchor = [parameter.detach().clone() for parameter in _trained(start)]

    def term(model: Classifier, batch: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        pairs = zip(_trained(model), anchor, strict=True)
        squares = [(own - held.to(own.device)).square().sum() for own, held in pairs]
        return mu / 2 * torch.stack(squares).sum()

    return term


def _trained(model: Classifier) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def contrastive(start: Classifier, previous: Classifier, mu: float, temperature: float) -> LossTerm:
    """Return MOON's term: features near the global model's, far from the last local one's.

    Li et al., arXiv 2103.16257. Features are those before the linear head; the paper's projection head is left out, so
    that all methods share one architecture.

    Parameters
    ----------
    start, previous : Classifier
        The global model as received and the client's model after its previous round; both are copied.
    mu : float
        Weight, >= 0.
    temperature : float
        > 0.
    """
    anchors = [one.copy().eval().requires_grad_(False) for one in (start, previous)]

    def term(model: Classifier, batch: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            held = [anchor.to(batch.device).features(batch) for anchor in anchors]
        similarity = torch.stack([F.cosine_similarity(features, other, dim=1) for other in held], dim=1)  # (n, 2)
        return mu * F.cross_entropy(similarity / temperature, similarity.new_zeros(len(similarity), dtype=torch.long))

    return term
