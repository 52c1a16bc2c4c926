"""Lost updates: what was acknowledged by a set must be in it at the end, or have been there last."""

import json
import os

from .violation import Violation


def judge(directory, adds, must_lose):
    """@adds: set -> [(t, element, token, late)], acknowledged. Returns (violations, unknown, figures)."""
    lost, late, total = [], 0, 0
    for name, added in adds.items():
        with open(os.path.join(directory, "sets", f"{name}.json"), encoding="utf-8") as file:
            elements = set(json.load(file)["elements"])
        total += len(added)
        late += sum(one[3] for one in added)
        lost += [(name, *one) for one in added if one[1] not in elements]
    if not adds:
        return [], [], {}
    figures = {"updates": f"{total} acknowledged, {len(lost)} lost"}
    if must_lose:
        unknown = [] if lost else ["no update was lost without tokens: the fault did not bite"]
        return [], unknown, figures
    if lost and late:
        return [], [f"{len(lost)} updates lost, but {late} writes ended after their lease: this process was late"], figures
    return [Violation("P1", t, f"the update {element} (token {token}) of {name} was lost", name.rsplit("-", 1)[0])
            for name, t, element, token, _late in lost[:10]], [], figures
