"""circuits/settings"""
