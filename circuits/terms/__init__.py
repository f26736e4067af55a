"""circuits/terms"""
