"""Neurons ranked by what each writes to the answer directly, with what zeroing the first of them does.

Axis words: `example neuron token d_vocab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from interp.effects.answer_ends import Ends, Prompts, ends_of
from interp.effects.neuron_check import check_of, zeroed
from interp.effects.neuron_table import NeuronEffects
from interp.effects.ranking import Ranking, width_of
from interp.effects.written import Written
from interp.errors import EditError, LayoutError, MetricError, SiteError
from interp.given import kinds_checked
from interp.lenses.effect_measures import MEASURES
from interp.lenses.head_logits import Head
from interp.lenses.stream import in_front
from interp.model.edits import Edit
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.parts.tokens import Texts
from interp.tasks.task import Task
from interp.whole_numbers import count, is_whole, whole

WHAT: Final = "effects of neurons"


@kinds_checked
def neuron_effects(
    model: Any,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    measure: str = "log_prob_increase",
    compare: Sequence[Edit] = (),
    prompts: Prompts = "clean",
    screen: int | None = None,
    check: int = 10,
    draws: int = 5,
    seed: int = 0,
    k: int = 5,
    batch_size: int | None = None,
) -> NeuronEffects:
    """Rank neurons by what each writes to the answer where it is read, and zero the first `check` of them to see whether it matters.

    log_prob_increase = log p(answer | x + c_i w_i) - log p(answer | x), p = softmax(W_U N(.)), N the final norm frozen at the run, x the stream
    that the MLP reads, c_i w_i what the neuron adds; `logit` and `logit_diff` are linear in it (`MEASURES`). Logit and log-probability are always
    both there, since they disagree. compare: edits; the measure is then its value less that in a run with them, under the norm of the
    plain run (Yu & Ananiadou 2024 zero one head). check, draws: so many first neurons, and so many draws of random ones
    of the same layers, are zeroed at every position.

    screen: at most so many neurons are measured exactly, those of the largest bound log p(x + v) - log p(x) <= v . (W_U[answer] - E_p W_U); the value says how
    many first places that proves. By default all, and 1,000 where neurons times vocabulary are more than 2^31.
    Units: nats, logits. Cost: F, F more with `compare`, (1 + draws) F of the check; N D V once, N V for each prompt.
    Raises: MetricError for an unknown measure, or one without wrong answers; SiteError for layers without neurons; LayoutError where a norm acts
    on sums or the neurons are not what the MLP adds; TaskError for answers of several tokens.
    """
    chosen, own, edits = MEASURES[measure], _layers(model, layers), _edits(compare)
    check = whole(check, "check") if is_whole(check) and check == 0 else count(check, "check")
    sizes = (
        count(k, "k"),
        count(draws, "draws"),
        whole(seed, "seed"),
        screen if screen is None else count(screen, "screen"),
    )
    sites = [Site(kind, layer) for layer in own for kind in ("mlp_post", "mlp_out")]
    sites += [in_front(model.layout, "mlp", layer) for layer in own]

    def run(changed: Sequence[Edit], reads: Sequence[Site] = ()) -> Ends:
        return ends_of(model, task, reads, what=WHAT, prompts=prompts, edits=changed, batch_size=batch_size)

    base = run((), sites)
    if chosen.needs_wrong and not base.has_wrong:
        raise MetricError(f"measure {measure!r} needs wrong answers, which {task.name!r} lacks; use 'logit'.")
    head = Head.of(model)
    runs = [Written(base, base.stream, head)]
    if edits:
        other = run(edits, sites)
        runs.append(Written(other, other.seen_by(base), head))
    with settled(model.device), torch.no_grad():
        found = Ranking(chosen, runs, own, sizes[3], sizes[0]).table()
        widths = {layer: width_of(base, layer) for layer in own}
        groups = zeroed(found.nodes, check, sizes[2], sizes[1], widths) if check else []
        checks = check_of(run, base, groups)
    texts = Texts.of(model.output_text, {*found.up.ravel().tolist(), *found.down.ravel().tolist()})
    return NeuronEffects(
        **vars(found), checks=checks, measure=measure, compared=bool(edits), texts=texts, model=model.name, task=task.name,
        prompts=prompts,
    )  # fmt: skip


def _edits(compare: Any) -> list[Edit]:
    """Raises: EditError for what is no list of edits."""
    found = [compare] if isinstance(compare, Edit) else list(compare)
    if other := next((one for one in found if not isinstance(one, Edit)), None):
        raise EditError(f"compare: given {other!r:.60}; expected edits, such as interp.zero('z.3', heads=1).")
    return found


def _layers(model: Any, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers with neurons that write. Raises: SiteError, LayoutError for others."""
    model.layout.check_blocks(WHAT)
    blocks = model.layout.blocks
    able = [i for i, block in enumerate(blocks) if block.mlp is not None and block.mlp.down is not None]
    found = tuple(able if layers is None else dict.fromkeys(whole(layer, "layer", SiteError) for layer in layers))
    if not found:
        raise LayoutError(f"{WHAT}: no MLP of {model.name} has one output projection, so no neuron has a direction.")
    if wrong := [layer for layer in found if layer not in able]:
        raise SiteError(f"layer {wrong[0]}: has no neurons of one output projection; expected layers among {able}.")
    return found
