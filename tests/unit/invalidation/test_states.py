"""Every change of state, from every state: the whole table, written out once more."""

import pytest

from dashboard.audit.actions import ACTIONS
from dashboard.invalidation import states
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import State

D, P, W, R, H, OK, C, F = State  # draft, previewed, waiting, running, paused, done, cancelled, failed
TABLE = {
    Verb.PREVIEW: {D: P},
    Verb.RECOUNT: {D: D, P: D, H: D},
    Verb.APPROVE: {P: W},
    Verb.START: {W: R},
    Verb.PAUSE: {W: H, R: H},
    Verb.HOLD: {W: H, R: H},
    Verb.RESUME: {H: W},
    Verb.CANCEL: {D: C, P: C, W: C, R: C, H: C},
    Verb.FINISH: {R: OK},
    Verb.FAIL: {W: F, R: F},
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", State)
def test_each_change_from_each_state(state: State, verb: Verb) -> None:
    assert states.may(state, verb) == (state in TABLE[verb])
    if state in TABLE[verb]:
        assert states.after(verb) is TABLE[verb][state]


def test_nothing_follows_the_end() -> None:
    over = [state for state in State if state.is_over]
    assert over == [OK, C, F]
    assert not any(states.may(state, verb) for state in over for verb in Verb)


def test_only_an_approval_leads_to_work() -> None:
    """Nothing but APPROVE makes an unapproved purge active, whatever else is asked of it and in whichever order."""
    reached, frontier = set(), {D}
    while frontier:
        state = frontier.pop()
        reached.add(state)
        steps = {TABLE[verb][state] for verb in Verb if verb is not Verb.APPROVE and state in TABLE[verb]}
        frontier |= steps - reached
    assert not any(state.is_active for state in reached)


def test_every_change_has_an_action_and_every_state_words() -> None:
    assert {f"invalidation:purge:{verb}" for verb in Verb} <= set(ACTIONS)
    assert set(states.WORDS) == set(State)
