"""interp/tasks"""
