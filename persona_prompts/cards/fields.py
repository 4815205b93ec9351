"""The fields of character cards, as far as Troupe uses them, with their types and sizes.

V1 is six texts at the top of the JSON; V2 and V3 hold theirs under `data`. Other programs add keys
of their own, so extra ones are no error; wrong types and over-long texts are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from persona_prompts.errors import CharacterError

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=16_000)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64_000)]
Key = Annotated[str, StringConstraints(max_length=512)]
Keys = Annotated[list[Key], Field(max_length=256)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]  # JSON knows one kind

MOST_ENTRIES = 5000  # of one lorebook

V1_FIELDS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")


class CardPart(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TroupeFields(CardPart):
    """What Troupe itself keeps in a card, under `extensions.troupe`."""

    aliases: list[Name] = Field([], max_length=16)
    adapter: Label | None = None
    age_restricted: bool = False


class ExtensionFields(CardPart):
    troupe: TroupeFields = TroupeFields()


class EntryExtensions(CardPart):
    """What SillyTavern keeps in an entry beyond the card formats, and users rely on."""

    position: Any = None
    depth: Any = None
    selectiveLogic: Any = None
    scan_depth: Any = None
    match_whole_words: Any = None
    case_sensitive: Any = None
    exclude_recursion: Any = None
    prevent_recursion: Any = None


class EntryFields(CardPart):
    keys: Keys = []
    content: Text = ""
    enabled: bool = True
    insertion_order: Number = 0
    case_sensitive: bool | None = None
    use_regex: bool | None = None
    constant: bool | None = None
    name: Note | None = None
    comment: Note | None = None
    priority: Number | None = None
    id: int | float | str | None = None
    selective: bool | None = None
    secondary_keys: Keys | None = None
    position: str | None = None
    extensions: EntryExtensions | None = None


class BookFields(CardPart):
    """A lorebook, alike in V2 and V3 but for `use_regex`."""

    name: Note | None = None
    description: Note | None = None
    scan_depth: Number | None = None
    token_budget: Number | None = None
    recursive_scanning: bool | None = None
    entries: list[EntryFields] = Field([], max_length=MOST_ENTRIES)


class V1Fields(CardPart):
    name: Name
    description: Text = ""
    personality: Text = ""
    scenario: Text = ""
    first_mes: Text = ""
    mes_example: Text = ""


class DataFields(V1Fields):
    """`data` of V2, and what V3 has in common with it."""

    alternate_greetings: list[Text] = Field([], max_length=64)
    system_prompt: Text = ""
    post_history_instructions: Text = ""
    creator_notes: Note = ""
    creator: Note = ""
    character_version: Note = ""
    tags: list[Label] = Field([], max_length=64)
    character_book: BookFields | None = None
    extensions: ExtensionFields = ExtensionFields()


class AssetFields(CardPart):
    """One asset of V3. `uri` is kept and never opened."""

    type: str
    uri: str
    name: str
    ext: str


class V3DataFields(DataFields):
    nickname: Name | Literal[""] | None = None
    group_only_greetings: list[Text] = Field([], max_length=64)
    creator_notes_multilingual: dict[str, Note] | None = None
    assets: list[AssetFields] | None = Field(None, max_length=1024)
    source: list[str] | None = None
    creation_date: Number | None = None
    modification_date: Number | None = None


def check(model: type[V1Fields], value: Any, label: str, prefix: str) -> V1Fields:
    """`value` as fields of `model`, whose names in sentences begin with `prefix`.

    Raises `CharacterError`: one sentence that names `label` and the first field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise CharacterError(explain(label, prefix, error)) from None


def explain(label: str, prefix: str, error: ValidationError) -> str:
    """The first problem of `error` as one sentence."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = prefix + ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{label}: {field} is missing."
    if problem["type"] == "model_type":
        return f"{label}: {field.rstrip('.')} must be an object."
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{label}: {field} is not usable: {reason}."
