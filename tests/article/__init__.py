"""The article's commands one by one: "Work with registered models", with ``az ml`` and the import swapped.

What a later version brings is listed as an expected failure with the words of its error, so that the day it works is noticed.
"""
