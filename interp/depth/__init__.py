"""How much does each layer do, and what is left of the model without it, or with it twice?"""
