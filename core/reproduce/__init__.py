"""The paper's Tables 1 to 6 and Figures 3 to 5 from the data of a profile, by one call.

:mod:`core.reproduce.check` says what of a profile's inputs is there and what is missing,
:mod:`core.reproduce.ahead` what remains to be done and how long it will take,
:mod:`core.reproduce.produce` makes the runs, embeddings and trainings and, from them, every table
and figure; :mod:`core.reproduce.compare` puts them beside the paper's own numbers
(:mod:`core.paper.printed`), and :mod:`core.reproduce.write` writes them. Everything is kept where
the separate verbs keep it, or beside its run under the digest of all that decides it: stopped or
killed work is resumed, and finished work is only read.
"""
