"""What is a method, and what does it score?

`registry` says what a method is, and holds those that are registered; `spaces` has the nodes of a level and the edges of a graph as the
driver asks for them; `replacing` runs the model with them at constants.

Methods are not written here: see `interp.attribution.methods`. To add a level that is neither nodes nor edges: a
class with the functions of `NodeSpace`, and one branch in `space_of`.
"""
