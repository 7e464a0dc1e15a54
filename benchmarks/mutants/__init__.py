"""The mutation check: do the tests and the scorecard detect mistakes in backward passes?"""
