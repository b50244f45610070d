"""The places that the result of a run can be bundled for, and the flag that names them."""

from __future__ import annotations

from absl import flags

from edgeflex_tflite.errors import UserError

KINDS = {
    "web": "a static page that runs the model in a browser",
    "android": "the files that an app needs, and edgeflex.json that describes them",
}


def define_bundle_flag(values: flags.FlagValues, words: str) -> None:
    """Add `--bundle`; `words` say what it does with the bundles."""
    described = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    flags.DEFINE_list("bundle", [], f"{words}, with commas between. {described}.", flag_values=values)


def chosen_bundles(values: flags.FlagValues) -> tuple[str, ...]:
    """What `--bundle` names, each once. Raises UserError for a place that is not known."""
    kinds = tuple(dict.fromkeys(values.bundle))
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"--bundle has {kind!r}: give some of {','.join(KINDS)}")
    return kinds
