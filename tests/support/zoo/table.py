"""Prints the table of forms of models in docs/models.md: ``python -m tests.support.zoo.table``."""

from __future__ import annotations

from tests.support.zoo import files, keras_models, modules, sounds, texts
from tests.support.zoo.form import BFLOAT16, EXACT, FLOAT16, Form

GROUPS = {
    "Keras files and exports": keras_models.FORMS,
    "SavedModels: what they take": modules.TAKES,
    "SavedModels: how they are called": modules.CALLED,
    "SavedModels: what they give": modules.GIVES,
    "SavedModels: loops and branches": modules.FLOWS,
    "TensorFlow 1": modules.SESSIONS,
    "Texts": texts.FORMS,
    "Sounds": sounds.FORMS,
    "Other files": files.FORMS,
}
FORMS = tuple(form for forms in GROUPS.values() for form in forms)
_EQUAL = {EXACT: "equal", FLOAT16: "equal in float16", BFLOAT16: "equal in bfloat16"}


def table() -> str:
    """The table: a row for each form, with what comes of it."""
    rows = ["| form | features |", "|---|---|"]
    for group, forms in GROUPS.items():
        rows += [f"| **{group}** | |", *(f"| {form.what} | {_outcome(form)} |" for form in forms)]
    return "\n".join(rows)


def _outcome(form: Form) -> str:
    return "refused" if form.says else _EQUAL[form.tolerance]


if __name__ == "__main__":
    print(table())
