"""The exam: labelled breaks in text that looks like the world's, judged apart from the diagnosis.

Its families, labels and thresholds were written from the providers' documents and the project's
issue, by someone who had not read the code of the diagnosis.
"""
