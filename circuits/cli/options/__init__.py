"""circuits/cli/options"""
