"""What is a circuit, how is it chosen, and how does it hang together?

`circuit` is the value; `selection` chooses one from scores; `connect` follows paths and lifts nodes to edges;
`algebra` combines and compares, `chance` says what random ones share; `saved` writes results to JSON and reads them.

To add a selection: one function under `@selection(...)` in selection.py. See docs/extending/selection.md.
"""
