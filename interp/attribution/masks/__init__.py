"""How does a model run with each part kept to a degree, and what is the slope of that?"""
