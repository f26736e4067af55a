"""circuits/bench"""
