from __future__ import annotations

import pytest

from jupyter_modelreg.commands.model import CreateModel, ListModels, ShowModel, UpdateModel
from jupyter_modelreg.commands.online import ShowOnlineDeployment
from jupyter_modelreg.doors.arguments import HelpAsked, build_parser, parse_command, parse_words
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.operations import OPERATIONS, Operation, find_operation
from jupyter_modelreg.records import fields


def parse(noun: str, verb: str, words: str) -> object:
    return parse_command(find_operation(noun, verb), words.split())


def test_azures_own_line_is_understood() -> None:
    command = parse("model", "create", "--name m --path p --type mlflow_model --tags a=1 b=2 -g group -w space --subscription s")
    assert command == CreateModel(name="m", path="p", type="mlflow_model", tags={"a": "1", "b": "2"})


def test_an_option_may_be_shortened_to_a_unique_prefix() -> None:
    assert parse("online-deployment", "show", "-n blue --endpoint e") == ShowOnlineDeployment(name="blue", endpoint_name="e")
    assert parse("model", "create", "--na m --pa p") == CreateModel(name="m", path="p")


def test_a_name_may_stand_bare_but_not_twice() -> None:
    assert parse("model", "show", "churn:2") == ShowModel(name="churn:2")
    with pytest.raises(InvalidInput, match="name the name"):
        parse("model", "show", "churn -n other")


def test_values_of_repeated_options_add_up() -> None:
    command = parse("model", "update", "churn --set a=1 b=2 --set c=3 --add tags k=v --add tags l=w --remove tags.x")
    assert command == UpdateModel(name="churn", set=["a=1", "b=2", "c=3"], add=["tags k=v", "tags l=w"], remove=["tags.x"])


def test_a_tag_filter_takes_a_key_alone_and_a_tag_does_not() -> None:
    assert parse("model", "list", "--tag stage") == ListModels(tags={"stage": ""})
    with pytest.raises(InvalidInput, match='takes KEY=VALUE, not "stage"'):
        parse("model", "create", "-n m -p p --tag stage")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lable x", 'has no option --lable. Did you mean "--label"?'),
        ("", "needs -n/--name"),
        ("-n", "expected one argument"),
        ("churn extra", "unrecognized arguments: extra"),
    ],
)
def test_wrong_words_say_what_would_be_right(words: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("model", "show", words)
    assert message in str(caught.value)
    assert "modelreg model show --help" in str(caught.value)


def test_a_number_and_a_choice_are_checked() -> None:
    with pytest.raises(InvalidInput, match='max_results must be a whole number, not "ten"'):
        parse("model", "list", "-r ten")
    with pytest.raises(InvalidInput, match='Did you mean "mlflow_model"'):
        parse("model", "create", "-n m -p p -t mlflow")


def test_a_choice_is_taken_in_any_case() -> None:
    assert parse("model", "create", "-n m -p p -t MLflow_Model") == CreateModel(name="m", path="p", type="mlflow_model")


def test_how_the_answer_shall_look_is_no_part_of_the_command() -> None:
    _, presentation = parse_words(find_operation("model", "list"), ["-o", "tsv", "--query", "[].name"])
    assert (presentation.output, presentation.query) == ("tsv", "[].name")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.magic)
def test_every_operation_has_a_parser_with_help_for_each_field(operation: Operation) -> None:
    with pytest.raises(HelpAsked) as asked:
        parse_command(operation, ["--help"])
    for item in fields(operation.command):
        assert "--" + item.name.replace("_", "-") in str(asked.value)
        assert item.help, f"{operation.magic}: {item.name} has no help"
    assert build_parser(operation, "x").prog == "x"
