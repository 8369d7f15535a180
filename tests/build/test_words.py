"""Words: quotes, escapes and variables mean what BuildKit takes them for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.build import patterns, words
from pycontainers.errors import BuildError

VALUES = {"home": "/root", "empty": "", "Größe": "5", "two": "a  b", "file": "app-1.2.tar.gz"}


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a'b c'd", "ab cd"),
        ('a"b c"d', "ab cd"),
        (r"a\ b", "a b"),
        (r"a\nb", "anb"),
        (r'"a\nb"', r"a\nb"),
        (r'"a\\b"', r"a\b"),
        (r"'a\\b'", r"a\\b"),
        (r'"say \"yes\""', 'say "yes"'),
        ("\\", ""),
        ("$home/bin", "/root/bin"),
        ("${home}bin", "/rootbin"),
        ("$Größe", "5"),
        ('"$home"', "/root"),
        ("'$home'", "$home"),
        (r"\$home", "$home"),
        (r'"\$home"', "$home"),
        ("$", "$"),
        ("$.", "$."),
        ("a$ b", "a$ b"),
        ("$1$2x", "x"),
        ("$@$*$#$?$-$$$!$0.", "."),
        ("$none.", "."),
        ("${none}.", "."),
    ],
)
def test_quotes_escapes_and_plain_variables(word: str, meant: str) -> None:
    assert words.expand(word, VALUES).text == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("${none:-x}", "x"),
        ("${none-x}", "x"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${home:-x}", "/root"),
        ("${none:+x}", ""),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${home:+x}", "x"),
        ("${home:?x}", "/root"),
        ("${empty?x}", ""),
        ("${none:-${empty:-$home}}", "/root"),
        ("${none:-a b}", "a b"),
        ("${none:-'}'}", "}"),
        (r"${none:-\}}", "}"),
        ("${none:-$none}x}", "x}"),
    ],
)
def test_defaults_alternatives_and_demands(word: str, meant: str) -> None:
    assert words.expand(word, VALUES).text == meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("${file#*.}", "2.tar.gz"),
        ("${file##*.}", "gz"),
        ("${file%.*}", "app-1.2.tar"),
        ("${file%%.*}", "app-1"),
        ("${file#app-}", "1.2.tar.gz"),
        ("${file%none}", "app-1.2.tar.gz"),
        ("${file#???}", "-1.2.tar.gz"),
        ("${file#*}", "app-1.2.tar.gz"),
        ("${file##*}", ""),
        ("${file/./_}", "app-1_2.tar.gz"),
        ("${file//./_}", "app-1_2_tar_gz"),
        ("${file//.}", None),
        ("${file//./}", "app-12targz"),
        ("${file/-*./ }", "app gz"),
        (r"${home//\//-}", "-root"),
        ("${file#'app-1'}", ".2.tar.gz"),
        (r"${file#\a}", None),
        ("${none#x}", ""),
        ("${none/x/y}", ""),
    ],
)
def test_patterns_cut_and_replace(word: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(BuildError):
            words.expand(word, VALUES)
    else:
        assert words.expand(word, VALUES).text == meant


@pytest.mark.parametrize(
    "word",
    ["'", '"', '"\\"', "a'b", "${", "${}", "${home", "${home:-", "${:-a}", "${{home}}", "${home=a}",
     "${home:a}", "${home:#a}", "${none:?}", "${none?}", "${empty:?}", "${home^}", "${.}",
     "${home:-'}"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(word: str) -> None:
    with pytest.raises(BuildError) as caught:
        words.expand(word, VALUES)

    assert caught.value.line == 0
    assert caught.value.near == word


def test_a_demand_is_told_with_the_name_and_the_message() -> None:
    with pytest.raises(BuildError, match="none: set it to 5"):
        words.expand("${none:?set it to $Größe}", VALUES)


def test_a_default_that_is_not_used_is_read_all_the_same() -> None:
    with pytest.raises(BuildError, match="other: missing"):
        words.expand("${home:-${other:?missing}}", VALUES)


def test_the_escape_character_can_be_another() -> None:
    assert words.expand(r'C:\dir\`$x `"a', {}, "`").text == r'C:\dir\$x "a'


def test_it_is_told_which_variables_were_there_and_which_not() -> None:
    found = words.expand("$home ${none:-$other} ${empty:+x} $home '$quoted'", VALUES)

    assert found.found == {"home", "empty"}
    assert found.missing == ("other", "none")


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("a b", ("a", "b")),
        ("  a\t b ", ("a", "b")),
        ("$two", ("a", "b")),
        ('"$two"', ("a  b",)),
        ("x${two}y", ("xa", "by")),
        (r"a\ b", ("a b",)),
        ("$empty", ()),
        ("80${none:-80}", ("8080",)),
    ],
)
def test_words_are_split_at_spaces_outside_quotes(word: str, split: tuple[str, ...]) -> None:
    assert words.expand(word, VALUES).words == split


def test_a_document_keeps_its_quotes() -> None:
    text = 'it\'s "$home" \\$home \\\\ ${none:-x}\n'

    assert words.expand_document(text, VALUES).text == 'it\'s "/root" $home \\ x\n'


def test_a_command_is_shown_with_what_is_known() -> None:
    shown = words.shown("echo \"$home\" '$home' $none ${none:-$home} ${home#/}", VALUES)

    assert shown == "echo \"/root\" '$home' $none ${none:-$home} root"
    assert words.shown("echo it's", VALUES) == "echo it's"


def test_deep_nesting_is_refused_before_the_stack_ends() -> None:
    deep = "${a:-" * 100_000 + "}" * 100_000

    with pytest.raises(BuildError, match="in one another"):
        words.expand(deep, {})


def test_values_that_multiply_are_bounded() -> None:
    with pytest.raises(BuildError, match="more than"):
        words.expand("$a" * 100, {"a": "x" * 100_000})

    with pytest.raises(BuildError, match="too many"):
        words.expand("${a//x/$b}", {"a": "x" * 10_000, "b": "y" * 1000})


def test_patterns_take_no_exponential_time() -> None:
    with pytest.raises(BuildError, match="too long"):
        words.expand("${a##" + "*a" * 5000 + "b}", {"a": "a" * 50_000})

    assert words.expand("${a##" + "*a" * 30 + "b}", {"a": "a" * 9_000}).text == "a" * 9_000
    assert words.expand("${a//" + "*a" * 30 + "b/}", {"a": "a" * 9_000}).text == "a" * 9_000


pattern_texts = st.text(alphabet="ab*?\n", max_size=6)
value_texts = st.text(alphabet="ab\n", max_size=10)


def expression(pattern: str, star: str) -> str:
    """Give the regular expression of a pattern, to be matched by trying everything."""
    return "".join({"*": star, "?": "."}.get(letter, re.escape(letter)) for letter in pattern)


@given(pattern_texts, value_texts, st.booleans())
def test_any_pattern_cuts_what_a_backtracking_expression_matches(
    pattern: str, value: str, longest: bool
) -> None:
    star = ".*" if longest else ".*?"

    start = re.match(expression(pattern, star), value)
    end = re.match(expression(pattern[::-1], star), value[::-1])

    cut = patterns.without_start(pattern, value, longest=longest)
    assert cut == (value[start.end() :] if start else value)
    cut = patterns.without_end(pattern, value, longest=longest)
    assert cut == (value[: len(value) - end.end()] if end else value)


@given(pattern_texts, value_texts)
def test_any_pattern_is_replaced_where_a_backtracking_expression_matches(
    pattern: str, value: str
) -> None:
    found = patterns.replaced(pattern, value, "X", every=False, room=100)

    assert found == re.sub(expression(pattern, ".*"), "X", value, count=1)


@given(pattern_texts.filter(lambda text: text.strip("*")), value_texts)
def test_every_match_is_replaced(pattern: str, value: str) -> None:
    found = patterns.replaced(pattern, value, "X", every=True, room=100)

    assert found == re.sub(expression(pattern, ".*"), "X", value)


@given(st.text(alphabet="a$ {}:-+?#%/\\'\"<\n", max_size=20), st.sampled_from("\\`"))
def test_any_word_is_expanded_or_refused(word: str, escape: str) -> None:
    for values in ({}, {"a": "a a", "aa": ""}):
        try:
            found = words.expand(word, values, escape)
        except BuildError:
            continue
        assert "".join("".join(found.words).split()) == "".join(found.text.split())
    words.raw_words(word)
    assert isinstance(words.shown(word, {"a": "1"}), str)
