"""circuits/evaluation"""
