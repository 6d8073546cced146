"""Every chart of the app and of the reports: one theme, one function per chart, one export.

A chart function takes a frame of :mod:`core.views` and a :class:`core.figures.base.Caption`, and
gives an ``alt.Chart`` whose title and subtitle say what was measured on what. The app shows it as
it is, and :func:`core.figures.export.export` writes the same chart as SVG, PDF or PNG.
"""
