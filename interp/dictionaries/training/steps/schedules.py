"""The learning rate and the sparsity coefficients of each step: sae-lens' schedules as functions of the step, with no state."""

from __future__ import annotations

from math import cos, pi

from interp.dictionaries.training.steps.options import Plan


def learning_rate(plan: Plan, step: int) -> float:
    """At `step` from 0: a linear warm-up from lr / warm-up steps, the named schedule, a linear decay to 0."""
    lr, warm, decay = float(plan["lr"]), int(plan["lr_warm_up_steps"]), int(plan["lr_decay_steps"])
    if step < warm:
        return lr * (step + 1) / warm
    if decay and step >= plan.steps - decay:
        start = lr if plan["lr_scheduler_name"] == "constant" else plan["lr_end"]
        return float(start * max(0.0, 1 - (step - (plan.steps - decay)) / decay))
    return _main(plan, step - warm, plan.steps - warm - decay)


def _main(plan: Plan, step: int, steps: int) -> float:
    lr, end, name = float(plan["lr"]), float(plan["lr_end"]), plan["lr_scheduler_name"]
    if name == "constant":
        return lr
    if name == "cosineannealingwarmrestarts":
        steps = max(1, steps // plan["n_restart_cycles"])
        step %= steps
    return end + (lr - end) * (1 + cos(pi * min(step, steps) / steps)) / 2


def coefficients(plan: Plan, step: int) -> dict[str, float]:
    """The weights of the sparsity losses at `step` from 0: they grow linearly from 0 over their warm-up."""
    found = {}
    for name in ("l1", "l0"):
        if f"{name}_coefficient" in plan.options:
            warm = plan[f"{name}_warm_up_steps"]
            found[name] = float(plan[f"{name}_coefficient"]) * (min(1.0, step / warm) if warm else 1.0)
    return found
