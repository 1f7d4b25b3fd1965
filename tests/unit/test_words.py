import json
import re
from types import SimpleNamespace

import pytest

from halab import chain, words


@pytest.mark.parametrize("subject", words.table())
def test_each_subject_has_something_to_say_of_each_engine(subject: str) -> None:
    assert sorted(words.table()[subject]) == ["lxc", "vm"]


def test_each_subject_is_told_by_a_chapter_and_each_that_a_chapter_asks_for_is_there() -> None:
    sources = [cell["source"] for path in chain.NOTEBOOKS.glob("*.ipynb") for cell in json.loads(path.read_text())["cells"]]
    asked = re.findall(r'words\.of\(lab, "(\w+)"\)', "\n".join("".join(source) for source in sources))
    assert sorted(set(asked)) == sorted(words.table())


def test_the_words_are_those_of_the_labs_engine() -> None:
    for engine, word in (("lxc", "overlay"), ("vm", "qemu-img")):
        assert word in words.of(SimpleNamespace(settings=SimpleNamespace(engine=engine)), "disk").data


def test_what_nobody_wrote_is_an_error() -> None:
    with pytest.raises(KeyError):
        words.of(SimpleNamespace(settings=SimpleNamespace(engine="lxc")), "weather")
