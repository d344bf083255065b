"""The prompt language: A1111's grammar, wildcards and styles.

Pure Python. No text makes it raise, and the time it takes is linear in the text's length.
"""
