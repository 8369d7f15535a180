"""A plan made readable: each step with who takes it and the kernel feature that it uses."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.runtime.plan import Plan


@attrs.frozen(repr=False)
class Explanation:
    """The steps of a start, in order; prints as text and shows as a table in Jupyter."""

    plan: Plan

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Give (who, what, feature) for each step; features are named by their man pages."""
        for who, step in self.plan.lines():
            feature = "clone(2), namespaces(7)" if isinstance(step, str) else step.feature
            yield who, str(step), feature

    def __str__(self) -> str:
        rows = list(self.rows())
        width = max(len(what) for _, what, _ in rows)
        width = min(width, 72)
        return "\n".join(
            f"{number:3}  {who:8}  {what[:width]:{width}}  {feature}"
            for number, (who, what, feature) in enumerate(rows, 1)
        )

    def __repr__(self) -> str:
        return f"<Explanation of {sum(1 for _ in self.rows())} steps>"

    def _repr_html_(self) -> str:
        cells = (
            "".join(f"<td>{html.escape(text)}</td>" for text in (str(number), *row))
            for number, row in enumerate(self.rows(), 1)
        )
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><tr><th></th><th>who</th><th>step</th><th>feature</th></tr>{body}</table>"
