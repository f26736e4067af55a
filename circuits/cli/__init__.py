"""circuits/cli"""
