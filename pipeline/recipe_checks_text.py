"""What a recipe with texts cannot say. Reads recipes, never makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipe_file import Location

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe

Problem = tuple[Location, str]


def find_text_problems(recipe: Recipe) -> list[Problem]:
    """Contradictions between a text column, the source, and what is asked of both."""
    source, texts = recipe.source, recipe.names("text")
    problems: list[Problem] = []
    if source.format == "text":
        problems += _document_problems(recipe, texts)
    elif source.document != "line":
        problems.append((("source", "document"), f"document: {source.document} is for format: text; received format: {source.format}"))
    elif source.encoding == "windows-1252":
        problems.append((("source", "encoding"), f"windows-1252 is read of format: text alone; received format: {source.format}"))
    for name, column in recipe.columns.items():
        if column.kind == "text" and column.role not in ("feature", "ignore"):
            problems.append((("columns", name), f"{name!r}: kind: text expects role: feature or ignore, received {column.role}"))
    if texts and recipe.audit.max_near_duplicates is not None:
        text = (
            "not looked for among texts; use clean.rules: [{drop_near_duplicates: {similarity: 0.8}}], which keeps one of them in one split"
        )
        problems.append((("audit", "max_near_duplicates"), text))
    for index, rule in enumerate(recipe.clean.rules):
        near = rule.drop_near_duplicates
        if near is not None and bool(texts) != (near.similarity is not None):
            expected = "similarity: 0.5 to 1 (and columns, digits not)" if texts else "columns and digits; similarity is for texts"
            problems.append((("clean", "rules", index), f"drop_near_duplicates: expected {expected}"))
    return problems


def _document_problems(recipe: Recipe, texts: list[str]) -> list[Problem]:
    problems: list[Problem] = []
    if len(texts) != 1:
        problems.append((("columns",), f"format: text expects one column of kind: text, received {texts}"))
    if recipe.task == "regression":
        problems.append((("task",), "the label of a text file comes from its path; expected task: classification"))
    if recipe.source.encoding == "utf-16" and recipe.source.document == "line":
        problems.append((("source", "encoding"), "utf-16 cannot be cut into lines by bytes; expected document: file, or another encoding"))
    others = [name for name, column in recipe.columns.items() if column.kind not in ("text", "category") and column.role != "ignore"]
    if others:
        problems.append(
            (("columns", others[0]), f"a text file has no columns but its text and categories from its path; received {others}")
        )
    if keys := recipe.names("category", "key"):
        problems.append((("columns", keys[0]), "the key of a text file is its path, that of a line its content; expected no role: key"))
    return problems
