"""The breaks of break_promises.py still fit the code, and the runner tells noticed from not."""

from pathlib import Path

import pytest

from loading import load_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
runner = load_file(HERE / 'break_promises.py')


@pytest.mark.parametrize('one', runner.BREAKS, ids=lambda one: one.promise)
def test_a_break_fits_the_code(one):
    changed = runner.broken((ROOT / one.file).read_text(encoding='utf-8'), one)
    compile(changed, one.file, 'exec')
    files = [test for test in one.tests if test.startswith('tests/')]
    assert files
    assert all((ROOT / file.partition('::')[0]).exists() for file in files)


def test_promises_differ():
    promises = [one.promise for one in runner.BREAKS]
    assert len(set(promises)) == len(promises)


@pytest.mark.parametrize('new,status', [('x + 2', runner.FAILED), ('1 + x', runner.PASSED)])
def test_noticed_and_unnoticed(new, status, tmp_path):
    (tmp_path / 'code.py').write_text('def add(x):\n    return x + 1\n')
    (tmp_path / 'test_code.py').write_text(
        'import code_under_test as code\n\ndef test_add():\n    assert code.add(1) == 2\n'
    )
    (tmp_path / 'code.py').rename(tmp_path / 'code_under_test.py')
    one = runner.Break('it adds', 'code_under_test.py', 'x + 1', new, ('test_code.py',))
    assert runner.run_tests(tmp_path, one.tests).status == runner.PASSED
    outcome = runner.try_break(tmp_path, one)
    assert outcome.status == status
    assert 'x + 1' in (tmp_path / 'code_under_test.py').read_text()
    row = runner.table_row(one, outcome)
    assert ('| noticed | test_code.py::test_add |' in row) == (status == runner.FAILED)


def test_a_break_that_does_not_fit_is_one_sentence():
    one = runner.Break('it adds', 'code.py', 'x + 1', 'x', ())
    with pytest.raises(ValueError, match='has not once what "it adds" takes out'):
        runner.broken('x + 1 or x + 1', one)
