"""circuits/anatomy"""
