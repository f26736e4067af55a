"""circuits/circuit"""
