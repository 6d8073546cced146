"""What the app shows of finished runs: frames, arrays and pictures, asked of the run file.

Every function takes an open :class:`core.runs.run_file.Run` and gives plain pandas frames, numpy
arrays or image bytes. Sums are made in SQL, so that a run of any size sends only what is
drawn. Scenes and predictions carry names here: a predicted class that is one of the
dataset's scenes takes the scene's spelling.
"""
