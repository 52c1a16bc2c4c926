"""All checks that need nothing but the history."""

from . import check_order, check_sets, search
from .violation import Violation


def of_story(story):
    """(violations, hand-overs that were judged) of a story that is finished."""
    windows = check_order.excused(story)
    handed, judged = check_order.handover(story, windows)
    return story.violations + check_order.exclusion(story) + check_order.order(story) + handed \
        + check_order.answers(story, windows), judged


def of_search(story):
    """The cross-check, which believes neither tokens nor indices: (violations, judged, given up)."""
    wrong, judged, given_up = search.judge(story.search.calls)
    return [Violation("P1", t, f"no order of the answers explains that of {client} about {lock} (search)", lock,
                      (client,)) for lock, t, client in wrong], judged, given_up


def of_sets(story, directory, must_lose):
    """(violations, what makes it unknown, figures) of the sets that the locks have guarded."""
    return check_sets.judge(directory, story.adds, must_lose)
