"""Results change only where versions do."""

from __future__ import annotations

from tests.golden import code_digest


def test_code_digest_is_of_what_code_does(tmp_path):
    file = tmp_path / "a.py"
    texts = ['"""Doc."""\nx = 1  # why\n', '"""Other."""\nx   = 1\n', '"""Doc."""\nx = 2\n']
    digests = []
    for text in texts:
        file.write_text(text)
        digests.append(code_digest([file]))
    assert digests[0] == digests[1] != digests[2]
