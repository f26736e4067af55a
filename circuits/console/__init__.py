"""circuits/console"""
