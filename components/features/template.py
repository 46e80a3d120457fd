"""The feature view of this project and the prompt template that uses it."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.adapters.feast_store import FeatureViewSpec
from tidegate.errors import InvalidInput
from tidegate.prompt import PromptTemplate

CUSTOMER_PROFILE = FeatureViewSpec(
    name="customer_profile",
    entity="customer",
    join_key="customer_id",
    fields={"segment": str, "products": str, "channel": str, "tenure_years": int},
    description="What the bank knows of a customer: segment, products held, channel, full years of tenure",
)
# Short, because every word is paid for on a CPU in each training row and each request.
_WORDS = {
    "segment": "segment={segment}",
    "channel": "channel={channel}",
    "products": "products={products}",
    "tenure_years": "tenure={tenure_years}",
}


def template_for(features: Sequence[str], labels: Sequence[str]) -> PromptTemplate:
    """The template over some features of the view, with the labels as the closed set of answers.

    Raises:
        InvalidInput: a feature that the view does not have.
    """
    unknown = sorted(set(features) - set(CUSTOMER_PROFILE.fields))
    if unknown:
        raise InvalidInput(
            f"features {unknown} are not in the feature view {CUSTOMER_PROFILE.name!r}",
            next_step=f"Map columns to {', '.join(CUSTOMER_PROFILE.fields)} only, or extend the view.",
        )
    chosen = [name for name in CUSTOMER_PROFILE.fields if name in features]
    words = [word for name, word in _WORDS.items() if name in features]
    return PromptTemplate(
        system=" ".join(["Bank intent.", *words]),
        features=tuple(chosen),
        feature_views=tuple(f"{CUSTOMER_PROFILE.name}:{name}" for name in chosen),
        labels=tuple(labels),
    )
