"""Models in the forms that people export: each with its direct call, or with the sentence that refuses it."""
