"""circuits/cli/commands"""
