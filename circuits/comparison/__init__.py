"""circuits/comparison"""
