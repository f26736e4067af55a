"""What does each part write, what does each part read, and what passes between them?

`edge_batches` is one batch of edges, and the way in; `edge_maps` is what is known of a model before any batch; `writers`, with what stands `behind_heads`, and `projections` say what is written and which
columns read it; `readers` has the gradient at each copy of the stream, by the way back of `pullbacks`; `sums` adds passes; `contraction`
multiplies the two; `cuts` says which edges are patched and where, `interventions` runs with them; `grabbing` takes single readers' q, k and v; `assumptions` checks
the model; `workspace` reuses memory.

Nothing is registered here: a method of edges asks an `EdgeBatch` (see docs/extending/method.md). A new kind of writer
goes into writers.py, a new kind of reader into readers.py, and both into `interp.parts.graph`.
"""
