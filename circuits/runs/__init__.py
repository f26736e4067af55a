"""circuits/runs"""
