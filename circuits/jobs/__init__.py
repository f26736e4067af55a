"""circuits/jobs"""
