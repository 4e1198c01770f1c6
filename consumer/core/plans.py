"""What is the same for many events, worked out once: by type, by topic, by the keys of the data.

Types, topics and keys come from outside, so everything remembered here is bounded in number and in length.
"""

from __future__ import annotations

from consumer.core.admission import Admission, Verdict
from consumer.core.catalogue import Catalogue, PathRule
from consumer.core.digests import Digests, TopicDigests
from consumer.core.flights import Router
from consumer.core.order_rules import OrderRule

_NAME_MAX = 500
"""Characters of a type or a topic; what is longer is not remembered."""
_TYPES_MAX = 200
_TOPICS_MAX = 500
"""For each type."""
_LAYOUTS_MAX = 50
"""For each type."""
_LAYOUT_MAX = 2_000
"""Characters of all keys together."""


class Topic:
    """A topic, for one type."""

    def __init__(self, spelt: str, folded: str, digests: TopicDigests, verdict: Verdict | None) -> None:
        self.spelt = spelt
        self.folded = folded
        self.digests = digests
        self.verdict = verdict
        """Why events of the type from the topic are not admitted."""


class Layout:
    """Under which keys the data has what the rules read; None where it has not."""

    def __init__(self, plan: TypePlan, keys: list[str]) -> None:
        self.keys = keys
        folded: dict[str, str] = {}
        for key in keys:
            folded.setdefault(key.casefold(), key)  # the first one counts, as in `consumer.fields.field`
        self.etag = _key("etag", keys, folded)
        self.sequencer = _key("sequencer", keys, folded)
        self.object = _key(plan.object_rule.path[0], keys, folded) if plan.object_rule.path else None
        self.order = [(_key(rule.path[0], keys, folded) if rule.path else None, rule) for rule in plan.order]


def _key(name: str, keys: list[str], folded: dict[str, str]) -> str | None:
    return name if name in keys else folded.get(name.casefold())


class TypePlan:
    """What is to be done with the events of one type, as it is spelt in them."""

    def __init__(
        self, spelt: str, catalogue: Catalogue, admission: Admission, router: Router, digests: Digests
    ) -> None:
        self.folded = spelt.casefold()
        family = catalogue.family(self.folded)
        self.object_rule: PathRule = family.object_path
        self.order: tuple[OrderRule, ...] = family.order
        self.reads_sequencer = catalogue.reads_sequencer(family)
        self.is_flat = len(self.object_rule.path) <= 1 and all(len(rule.path) <= 1 for rule in self.order)
        """Whether the rules look only at the first level of the data."""
        self.route = router.route(spelt)
        self.spelt = spelt
        self._admission = admission
        self._digests = digests
        self.topics: dict[str, Topic] = {}
        self._layouts: list[Layout] = []

    def topic(self, spelt: str) -> Topic:
        """Look a topic up that is not in `topics`, and remember it."""
        folded = spelt.casefold()
        verdict = self._admission.judge(folded, self.spelt)
        topic = Topic(spelt, folded, self._digests.of(folded, self.folded), verdict)
        if len(spelt) <= _NAME_MAX:
            if len(self.topics) >= _TOPICS_MAX:
                self.topics.clear()
            self.topics[spelt] = topic
        return topic

    def layout(self, keys: list[str]) -> Layout:
        """The layout of data with these keys."""
        for layout in self._layouts:  # there are few, and to compare costs less than a digest of all keys
            if layout.keys == keys:
                return layout
        layout = Layout(self, keys)
        if sum([len(key) for key in keys]) <= _LAYOUT_MAX:
            if len(self._layouts) >= _LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts.append(layout)
        return layout


class Plans:
    """The plans of all types."""

    def __init__(self, catalogue: Catalogue, admission: Admission, router: Router, digests: Digests) -> None:
        self._catalogue = catalogue
        self._admission = admission
        self._router = router
        self._digests = digests
        self.of: dict[str, TypePlan] = {}

    def plan(self, spelt: str) -> TypePlan:
        """Work a plan out that is not in `of`, and remember it."""
        plan = TypePlan(spelt, self._catalogue, self._admission, self._router, self._digests)
        if len(spelt) <= _NAME_MAX:
            if len(self.of) >= _TYPES_MAX:
                self.of.clear()
            self.of[spelt] = plan
        return plan
