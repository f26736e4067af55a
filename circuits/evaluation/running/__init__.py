"""circuits/evaluation/running"""
