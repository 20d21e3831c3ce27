"""Messages of a block are its own, and the file that holds them stays small."""

import os

from groupvit_mmseg.datasets import decoder_messages
from groupvit_mmseg.datasets.decoder_messages import collected_messages


def test_each_block_has_its_own_messages_and_the_file_stays_small(monkeypatch, capfd):
    monkeypatch.setattr(decoder_messages, '_MAX_LENGTH', 100)
    for state in ('_FILES', '_STARTS'):  # without what other tests left there
        monkeypatch.setattr(decoder_messages, state, {})
    sizes = []
    for index in range(40):
        lines = [f'line {index}.{line}' for line in range(index % 3)]
        with collected_messages() as messages:
            os.write(2, ''.join(f'{line}\n\n' for line in lines).encode())
        assert messages == lines
        sizes.append(os.fstat(decoder_messages._message_file().fileno()).st_size)
    assert max(sizes) < 150
    assert sizes.count(0) > 3
    assert capfd.readouterr().err == ''
