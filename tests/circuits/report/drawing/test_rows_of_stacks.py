"""Circuits of several stacks in rows of their own."""

from __future__ import annotations

import itertools

import pytest

from circuits.report.drawing.box_places import Placed, places
from circuits.report.drawing.layered import row_of_layer
from circuits.report.drawing.row_heights import HIGH
from interp.parts.nodes import Node


def _nodes(stacks: dict[str, int], heads: int = 3) -> list[Node]:
    """Embedding, heads, attention across in the stack without a prefix, and MLPs of every layer."""
    found = []
    for stack, layers in stacks.items():
        found.append(Node("embed", stack=stack))
        for layer in range(layers):
            found += [Node("head", layer, unit, stack=stack) for unit in range(heads)]
            found += [] if stack else [Node("cross_head", layer, unit) for unit in range(heads)]
            found.append(Node("mlp", layer, stack=stack))
    return found


def _placed(stacks: dict[str, int], nodes: list[Node]) -> Placed:
    rows = [
        row_of_layer(stack, layer)
        for stack in sorted(stacks, key=lambda s: (not s, s))
        for layer in range(stacks[stack])
    ]
    return places([], [], nodes, [], rows, shared={}, shown=[node.name for node in nodes])


@pytest.mark.parametrize("stacks", [{"encoder": 2, "": 3}, {"text": 2, "vision": 3}, {"encoder": 6, "": 6}], ids=str)
def test_no_two_boxes_stand_on_each_other(stacks: dict[str, int]) -> None:
    nodes = _nodes(stacks)
    placed = _placed(stacks, nodes)
    assert set(placed.nodes) == {node.name for node in nodes}
    for a, b in itertools.combinations(placed.nodes.values(), 2):
        apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= HIGH - 1e-6
        assert apart, (a.name, b.name)


@pytest.mark.parametrize(
    ("stacks", "order"),
    [({"encoder": 2, "": 3}, ["encoder", ""]), ({"vision": 3, "text": 2}, ["text", "vision"])],
    ids=str,
)
def test_rows_of_a_stack_stand_together_and_have_its_name(stacks: dict[str, int], order: list[str]) -> None:
    """The encoder's below the decoder's; y grows downwards."""
    nodes = _nodes(stacks)
    placed = _placed(stacks, nodes)
    names = [name for strip in placed.strips for name in strip.names]
    assert names == [row_of_layer(stack, layer) for stack in order for layer in range(stacks[stack])]
    strips = {strip.names[0]: strip for strip in placed.strips}
    for node in nodes:
        if node.layer is not None:
            strip, place = strips[row_of_layer(node.stack, node.layer)], placed.nodes[node.name]
            assert abs(place.y - strip.y) <= strip.high / 2, node.name
    heights = [strips[row_of_layer(stack, layer)].y for stack in order for layer in range(stacks[stack])]
    assert heights == sorted(heights, reverse=True)


def test_a_layer_of_the_same_number_is_not_the_same_row() -> None:
    nodes = [
        Node("head", 1, 0, stack="encoder"),
        Node("head", 1, 0),
        Node("cross_head", 1, 0),
        Node("embed", stack="encoder"),
        Node("embed"),
    ]
    placed = _placed({"encoder": 2, "": 2}, nodes)
    above, own, across = (placed.nodes[node.name] for node in nodes[:3])
    assert above.y > own.y == across.y and own.x != across.x
    assert placed.nodes["encoder:embed"].y == placed.nodes["embed"].y > above.y
